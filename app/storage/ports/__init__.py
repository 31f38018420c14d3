"""What the rest of the service may ask of whoever keeps."""
