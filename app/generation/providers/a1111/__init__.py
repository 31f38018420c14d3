"""The web API of AUTOMATIC1111, Forge and stable-diffusion.cpp."""
