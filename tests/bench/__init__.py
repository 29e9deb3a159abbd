"""Every measured figure, side by side with what others would build (`make bench`)."""
