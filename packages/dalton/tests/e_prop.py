"""A rule that the package does not have: e-prop with random feedback (Bellec et al., Nature Communications 2020).

Eligibility leaves out the reset of the neuron; the learning signal is the class error through fixed random weights:

    J_t = d J_{t-1} + dI_t/dW,   eps_t = eps_{t-1} + J_t,   e_t = psi(u_t) eps_t,   dW = sum L_t e_t
"""

import torch
from dalton.rules import Pass
from dalton.rules.losses import class_loss
from dalton.rules.rtrl import patches


class EProp:
    """One time-step in each pass; the memory holds J and eps of each layer."""

    name, settings, losses = "e-prop", ("online",), ("mse", "ce")

    def trained(self, network):
        return network.layer_names

    def begin(self, network, samples):
        return {}

    def __call__(self, work: Pass, x):
        net, engine = work.network, work.engine
        for number, layer in enumerate(work.layers):
            spec, readout = layer.spec, net.readout(layer.spec.name).detach()
            activity, signal = work.forward_layer(number, x)
            outputs = work.class_outputs(signal, readout, number)
            value, error = class_loss(work.loss, outputs, work.labels, work.samples)
            work.add_loss(spec.name, value)
            inputs = engine.dense(x, spec.input_shape, net.dtype)[0]
            influx, eligible = work.memory.get(number, (0.0, 0.0))
            switches = layer.plain_switches(activity.switches)
            influx = net.neuron.decay * influx + patches(spec, inputs, switches)
            work.memory[number] = influx, eligible + influx
            if work.need_gradients:
                signals = engine.spread(error, readout, spec)
                errors = engine.errors(activity.u, signals, net.neuron, activity.mask, 1.0)
                local = engine.plain(errors, spec)[0].reshape(len(inputs), spec.output_shape[0], -1)
                gradient = torch.einsum("bcp,bcpf->cf", local, eligible + influx)
                work.gradients[spec.name] = gradient.view(spec.weight_shape)
            x = signal
        return outputs
