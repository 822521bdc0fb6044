"""The dashboard room: what people at head office see and decide in a browser."""
