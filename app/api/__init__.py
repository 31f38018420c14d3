"""The routes and their handlers: what requests mean, and how they are answered."""
