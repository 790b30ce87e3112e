"""The model: layers, weights and networks.

`layer` is the SbS layer; open it first. `layer_settings` packs its settings for `state_dict`, `weights` keeps
columns normalised, `time_course` gives epsilon_t, `networks` builds a stack from a configuration. This room
builds on `engines` and `rules`, because the rule is the backward pass of the layer.
"""
