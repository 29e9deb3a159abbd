"""The Flask edge: who is asking, what went wrong in which words, and what a browser must know."""
