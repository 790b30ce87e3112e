"""The input: images, their sources, and what the first layer sees of them.

`images` defines a data set, `loading` finds one, `storage` reads and writes the files of the original program,
`augmentation` varies training images, `encoding` makes the channels for a network. Open `images` first. This
room may import the configuration and the modules below it, and nothing else of the package.
"""
