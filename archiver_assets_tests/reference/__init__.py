"""The parts of docs/reference that are made from the code, a module each; `__main__` writes them all, and tests compare them.

What belongs here: which facts stand where. What does not: the text around them, which people write into the pages.
"""
