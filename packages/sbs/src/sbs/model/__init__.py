"""What the network is: layers, weights and networks.

`layer` is the SbS layer; open it first. `layer_settings` packs its numbers for `state_dict`, `weights` keeps columns
distributions, `time_course` gives epsilon_t, `networks` builds a stack from a configuration. This room stands on
`engines` and `rules`: the rule is the backward pass of the layer.
"""
