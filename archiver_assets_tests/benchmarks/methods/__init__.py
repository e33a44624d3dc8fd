"""What runs in a process of its own: each module is a program that does one thing and prints its sample."""
