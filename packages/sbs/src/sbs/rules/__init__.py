"""The learning rule: `backward` has the published gradient as four matrix products.

Open `backward` first. `inference` joins an engine and the rule in one autograd function and weighs positions by
attention; `losses` compare the last h with the labels. A rule uses an engine and knows no layer.
"""
