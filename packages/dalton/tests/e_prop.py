"""A rule that the package does not have: e-prop with random feedback (Bellec et al., Nature Communications 2020).

Each synapse keeps an eligibility vector that leaves out the reset of its neuron, and the learning signal of a neuron is
the class error through fixed random weights:

    J_t = d J_{t-1} + dI_t/dW,   eps_t = eps_{t-1} + J_t,   e_t = psi(u_t) eps_t,   dW = sum L_t e_t
"""

import torch
from dalton.rules import Pass
from dalton.rules.losses import class_loss
from dalton.rules.rtrl import patches


class EProp:
    """One time-step a pass; what a synapse remembers is kept by layer."""

    name, settings, losses = "e-prop", ("online",), ("mse", "ce")

    def trained(self, network):
        return network.layer_names

    def begin(self, network, samples):
        return {}

    def __call__(self, work: Pass, x):
        for number, layer in enumerate(work.layers):
            spec, engine, net = layer.spec, work.engine, work.network
            activity, signal = work.forward_layer(number, x)
            readout = net.readout(spec.name).detach()
            outputs = work.class_outputs(signal, readout, number)
            value, error = class_loss(work.loss, outputs, work.labels, work.samples)
            work.add_loss(spec.name, value)
            now = engine.dense(x, spec.input_shape, net.dtype)[0]
            influx, eligible = work.memory.get(number, (0.0, 0.0))
            influx = net.neuron.decay * influx + patches(spec, now, layer.plain_switches(activity.switches))
            work.memory[number] = influx, eligible + influx
            if work.need_gradients:
                errors = engine.errors(
                    activity.u, engine.spread(error, readout, spec), net.neuron, activity.mask, 1.0
                )
                local = engine.plain(errors, spec)[0].reshape(len(now), spec.output_shape[0], -1)
                trace = work.memory[number][1].expand(-1, local.shape[1], -1, -1)
                work.gradients[spec.name] = torch.einsum("bcp,bcpf->cf", local, trace).view(spec.weight_shape)
            x = signal
        return outputs
