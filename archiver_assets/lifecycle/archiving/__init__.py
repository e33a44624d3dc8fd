"""Archive: a day of rows becomes one generation. What streams, what the server says of it, and the commit."""
