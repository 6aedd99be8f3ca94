"""One table of requests, with the right answer for each, against every gate."""
