"""What goes in: data sets as tensors on the device, split, colour-converted, normalised or whitened, augmented.

Open `loading` first; `preprocess` holds the normalisations and whitenings it fits. May import the configuration
only.
"""
