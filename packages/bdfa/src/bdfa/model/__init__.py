"""What the network is: the original's perceptron and convolutional network, and the losses on their scores.

Open `networks` first; `criteria` holds the two losses. May import `data` and the configuration. Any other
`nn.Module` can be trained too, see `rules.feedback_model`.
"""
