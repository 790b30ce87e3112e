"""How it learns: `backward` holds the learning rule, the published gradient as four matrix products.

Open `backward` first. `inference` joins an engine and the rule in one autograd function and weighs positions by
attention; `losses` are what the last h is compared with. A rule asks an engine and knows no layer.
"""
