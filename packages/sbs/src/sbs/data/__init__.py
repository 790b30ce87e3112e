"""What goes in: images, where they come from, and what the first layer sees of them.

`images` is what a set is, `loading` finds one, `storage` reads and writes the files of the original program,
`augmentation` varies training images, `encoding` makes the channels that a network takes. Open `images` first.
This room may import the configuration and the ground, and nothing else of the package.
"""
