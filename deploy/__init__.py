"""How escrutinio is run: images, access rights, the local stack, the demonstration."""
