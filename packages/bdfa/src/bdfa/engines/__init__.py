"""What computes a step: autograd for any network, or `FastMLP` for perceptrons, several rules or seeds at once.

Open `engine` first: it chooses between the two and gives them one interface. `build` goes from a configuration to a
wrapped network, `fast_mlp` is the path without a graph and the other files are its parts. May import `rules`, `model`,
`data` and the configuration.
"""
