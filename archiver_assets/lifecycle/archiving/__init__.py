"""Archive: turn a day of rows into one generation: stream the rows, compare them with the server's, and commit."""
