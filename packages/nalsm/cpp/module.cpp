// Python bindings: arrays in, arrays out. Checks of meaning (ranges, order) are made in Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "liquid.hpp"
#include "restriction.hpp"
#include "source.hpp"
#ifdef _OPENMP
#include <omp.h>
#endif

namespace py = pybind11;
using nalsm::Array;
using nalsm::Plasticity;
using nalsm::Source;

namespace {

nalsm::Settings settings_from(const py::dict& d) {
    nalsm::Settings s;
    s.duration = d["duration"].cast<int>();
    s.threshold = d["threshold"].cast<float>();
    s.leak = d["leak"].cast<float>();
    s.synapse_decay = d["synapse_decay"].cast<float>();
    s.synapse_gain = d["synapse_gain"].cast<float>();
    s.input_current = d["input_current"].cast<float>();
    s.refractory = d["refractory"].cast<int>();
    s.plasticity = static_cast<Plasticity>(d["plasticity"].cast<int>());
    s.potentiation = d["potentiation"].cast<float>();
    s.depression = d["depression"].cast<float>();
    s.trace_increment = d["trace_increment"].cast<float>();
    s.trace_decay = d["trace_decay"].cast<float>();
    s.weight_limit = d["weight_limit"].cast<float>();
    s.rate_decay = d["rate_decay"].cast<float>();
    s.astrocyte_weight = d["astrocyte_weight"].cast<float>();
    s.astrocyte_bias = d["astrocyte_bias"].cast<float>();
    s.astrocyte_tau = d["astrocyte_tau"].cast<float>();
    s.calcium_tau = d["calcium_tau"].cast<float>();
    s.calcium_threshold = d["calcium_threshold"].cast<float>();
    s.calcium_range = d["calcium_range"].cast<float>();
    return s;
}

// What one thread needs to present samples that start from the same weights.
class Worker {
  public:
    nalsm::EventList events;

    Worker(const nalsm::Network& net, const nalsm::Settings& settings) : net_(net), liquid_(net, settings) {}

    void present_fixed(nalsm::Weights weights, const nalsm::Output& out) {
        liquid_.present(net_.input, events, weights, nullptr, nullptr, out);
    }

    void present_plastic(const std::vector<float>& start, float* trace, nalsm::Output out, float* kept) {
        const auto rows = static_cast<std::size_t>(net_.liquid()), fixed = net_.recurrent_synapses();
        used_.choose(net_, events, trace + rows);
        own_.assign(start.begin(), start.begin() + static_cast<std::ptrdiff_t>(fixed));
        for (const auto s : used_.place) own_.push_back(start[fixed + static_cast<std::size_t>(s)]);
        trace_.assign(trace, trace + rows);
        for (const auto c : used_.channel) trace_.push_back(trace[rows + static_cast<std::size_t>(c)]);
        out.channel = used_.channel.data();
        liquid_.present(used_.input, events, {own_.data(), own_.data() + fixed, false}, trace_.data(), nullptr, out);
        std::copy_n(trace_.begin(), rows, trace);
        for (std::size_t c = 0; c < used_.channel.size(); ++c)
            trace[rows + static_cast<std::size_t>(used_.channel[c])] = trace_[rows + c];
        if (kept) keep(start, kept);
    }

  private:
    void keep(const std::vector<float>& start, float* kept) const {
        const auto fixed = net_.recurrent_synapses();
        for (std::size_t s = 0; s < start.size(); ++s) kept[net_.order[s]] = start[s];
        for (std::size_t s = 0; s < fixed; ++s) kept[net_.order[s]] = own_[s];
        for (std::size_t s = fixed; s < own_.size(); ++s)
            kept[net_.order[fixed + static_cast<std::size_t>(used_.place[s - fixed])]] = own_[s];
    }

    const nalsm::Network& net_;
    nalsm::Liquid liquid_;
    nalsm::Restriction used_;
    std::vector<float> own_, trace_;
};

class Core {
  public:
    Core(std::int32_t excitatory, std::int32_t inhibitory, std::int32_t inputs, const Array<std::int32_t>& post,
         const Array<std::int32_t>& pre)
        : net_(excitatory, inhibitory, inputs, post.data(), pre.data(), post.size()) {}

    // Presentations in sequence, weights (and trace, calcium) carried on; all three changed in place.
    py::dict sequence(const py::dict& options, const Source& source, std::int64_t presentations, Array<float> weights,
                      Array<float> trace, Array<float> calcium, bool carry, bool record) const {
        const auto settings = settings_from(options);
        auto counts = Array<std::int32_t>({presentations, std::int64_t{net_.liquid()}});
        auto raster = Array<std::uint8_t>({record ? presentations : 0, std::int64_t{settings.duration},
                                           std::int64_t{net_.neurons()}});
        auto astrocyte = Array<float>({presentations, std::int64_t{settings.duration}});
        float *w = weights.mutable_data(), *x = trace.mutable_data(), *c = calcium.mutable_data();
        auto* out_counts = counts.mutable_data();
        auto* out_raster = raster.mutable_data();
        auto* out_astrocyte = astrocyte.mutable_data();
        if (record) std::fill_n(out_raster, raster.size(), std::uint8_t{0});
        {
            py::gil_scoped_release release;
            nalsm::Liquid liquid(net_, settings);
            nalsm::EventList events;
            auto own = gather(w);
            for (std::int64_t k = 0; k < presentations; ++k) {
                source.fill(k, net_, settings.duration, events);
                if (!carry) std::fill(x, x + net_.neurons(), 0.f);
                liquid.present(net_.input, events, parts(own), x, c,
                               output(k, settings, out_counts, record ? out_raster : nullptr, out_astrocyte));
            }
            for (std::size_t s = 0; s < own.size(); ++s) w[net_.order[s]] = own[s];
        }
        return result(counts, raster, astrocyte);
    }

    // Presentations side by side, each from the same start weights; trace (presentation, neuron) in place.
    py::dict independent(const py::dict& options, const Source& source, std::int64_t presentations,
                         const Array<float>& weights, Array<float> trace, bool record, int threads,
                         std::optional<Array<float>> final_weights) const {
        const auto settings = settings_from(options);
        const bool plastic = settings.plasticity != Plasticity::none;
        auto counts = Array<std::int32_t>({presentations, std::int64_t{net_.liquid()}});
        auto raster = Array<std::uint8_t>({record ? presentations : 0, std::int64_t{settings.duration},
                                           std::int64_t{net_.neurons()}});
        auto astrocyte = Array<float>({presentations, std::int64_t{settings.duration}});
        auto start = plastic ? gather(weights.data()) : by_column(gather(weights.data()));
        float* x = trace.mutable_data();
        float* kept = final_weights ? final_weights->mutable_data() : nullptr;
        auto* out_counts = counts.mutable_data();
        auto* out_raster = raster.mutable_data();
        auto* out_astrocyte = astrocyte.mutable_data();
        if (record) std::fill_n(out_raster, raster.size(), std::uint8_t{0});
        {
            py::gil_scoped_release release;
#pragma omp parallel num_threads(threads)
            {
                Worker worker(net_, settings);
#pragma omp for schedule(dynamic, 1)
                for (std::int64_t k = 0; k < presentations; ++k) {
                    source.fill(k, net_, settings.duration, worker.events);
                    const auto out = output(k, settings, out_counts, record ? out_raster : nullptr, out_astrocyte);
                    if (plastic)
                        worker.present_plastic(start, x + k * net_.neurons(), out,
                                               kept ? kept + k * static_cast<std::int64_t>(start.size()) : nullptr);
                    else
                        worker.present_fixed(parts(start, dense()), out);
                }
            }
        }
        (void)threads;
        return result(counts, raster, astrocyte);
    }

  private:
    std::vector<float> gather(const float* weights) const {
        std::vector<float> own(net_.synapses());
        for (std::size_t s = 0; s < own.size(); ++s) own[s] = weights[net_.order[s]];
        return own;
    }

    // A column with absent synapses as zeros takes one vector operation for sixteen neurons, so it pays early.
    bool dense() const {
        const auto cells = static_cast<std::size_t>(net_.inputs) * static_cast<std::size_t>(net_.liquid());
        return net_.input.pre.size() * 12 > cells && cells < (std::size_t{1} << 26);
    }

    std::vector<float> by_column(const std::vector<float>& weights) const {
        const auto fixed = net_.recurrent_synapses(), liquid = static_cast<std::size_t>(net_.liquid());
        std::vector<float> own;
        for (const auto s : net_.recurrent.column_synapse) own.push_back(weights[static_cast<std::size_t>(s)]);
        if (dense()) own.resize(fixed + static_cast<std::size_t>(net_.inputs) * liquid, 0.f);
        for (std::size_t c = 0; c < static_cast<std::size_t>(net_.inputs); ++c)
            for (auto k = static_cast<std::size_t>(net_.input.column_begin[c]);
                 k < static_cast<std::size_t>(net_.input.column_begin[c + 1]); ++k) {
                const float w = weights[fixed + static_cast<std::size_t>(net_.input.column_synapse[k])];
                if (dense())
                    own[fixed + c * liquid + static_cast<std::size_t>(net_.input.column_post[k])] = w;
                else
                    own.push_back(w);
            }
        return own;
    }

    nalsm::Weights parts(std::vector<float>& weights, bool table = false) const {
        return {weights.data(), weights.data() + net_.recurrent_synapses(), table};
    }

    nalsm::Output output(std::int64_t k, const nalsm::Settings& s, std::int32_t* counts, std::uint8_t* raster,
                         float* astrocyte) const {
        return {counts + k * net_.liquid(), raster ? raster + k * s.duration * net_.neurons() : nullptr,
                astrocyte + k * s.duration, nullptr};
    }

    static py::dict result(py::object counts, py::object raster, py::object astrocyte) {
        py::dict d;
        d["counts"] = std::move(counts);
        d["raster"] = std::move(raster);
        d["astrocyte"] = std::move(astrocyte);
        return d;
    }

    nalsm::Network net_;
};

}  // namespace

PYBIND11_MODULE(_kernel, m) {
    m.doc() = "Event-driven liquid state machine core.";
    py::class_<Source>(m, "Source")
        .def(py::init([](std::optional<Array<double>> probability, std::optional<Array<std::int64_t>> first,
                         std::optional<Array<std::int32_t>> channels, Array<std::int64_t> sample,
                         std::uint64_t seed) {
                 if (!probability && (!first || !channels)) throw std::invalid_argument("no probabilities and no events");
                 return Source{std::move(probability), std::move(first), std::move(channels), std::move(sample), seed};
             }),
             py::arg("probability"), py::arg("first"), py::arg("channels"), py::arg("sample"), py::arg("seed"));
    py::class_<Core>(m, "Core")
        .def(py::init<std::int32_t, std::int32_t, std::int32_t, const Array<std::int32_t>&, const Array<std::int32_t>&>(),
             py::arg("excitatory"), py::arg("inhibitory"), py::arg("inputs"), py::arg("post"), py::arg("pre"))
        .def("sequence", &Core::sequence, py::arg("options"), py::arg("source"), py::arg("presentations"),
             py::arg("weights").noconvert(), py::arg("trace").noconvert(), py::arg("calcium").noconvert(),
             py::arg("carry"), py::arg("record"))
        .def("independent", &Core::independent, py::arg("options"), py::arg("source"), py::arg("presentations"),
             py::arg("weights"), py::arg("trace").noconvert(), py::arg("record"), py::arg("threads"),
             py::arg("final_weights") = py::none());
}
