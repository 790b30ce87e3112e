// The engine as two operations of XLA, so that it runs inside of compiled JAX programs. They only arrange borrowed
// arrays for the functions of engine.hpp. Compiled where a jaxlib brings the headers of its foreign function interface.
//
// Arrays may have more axes in front, from jax.vmap: each of them has size 1 or the size of the result's axis.
#include <cstdint>
#include <limits>
#include <vector>

#include "engine.hpp"
#include "xla/ffi/api/ffi.h"

namespace denram {
namespace {

namespace ffi = xla::ffi;
using Floats = ffi::Buffer<ffi::F32>;
using Ints = ffi::Buffer<ffi::S32>;
using Steps = ffi::Buffer<ffi::U16>;
using Sizes = ffi::Span<const std::int64_t>;

static_assert(sizeof(Window) == 3 * sizeof(std::int32_t), "windows travel as three numbers");

std::int64_t product(Sizes sizes, std::size_t first, std::size_t last) {
  std::int64_t count = 1;
  for (std::size_t axis = first; axis < last; ++axis) count *= sizes[axis];
  return count;
}

// What the passes need besides arrays.
struct Options {
  std::int64_t threads, steps_in, steps, bias_steps;
  float leak;
};

// An operand: its sizes, and where its part for one index of the axes in front begins.
struct Operand {
  Operand(Sizes all, std::size_t own) : sizes(all), front(all.size() - own), part(product(all, front, all.size())) {}

  std::int64_t operator[](std::size_t axis) const { return sizes[front + axis]; }

  std::int64_t offset(std::int64_t index, Sizes result) const {
    std::int64_t place = 0, stride = 1;
    for (std::size_t axis = front; axis-- > 0;) {
      if (sizes[axis] != 1) place += index % result[axis] * stride;
      stride *= sizes[axis];
      index /= result[axis];
    }
    return place * part;
  }

  Sizes sizes;
  std::size_t front;
  std::int64_t part;
};

// Axes in front that belong together: how many passes there are, and how many samples each of them takes at once. Axes
// over which weights and delays are shared, the innermost ones, are more samples of the same pass.
struct Passes {
  Passes(Sizes result, std::size_t front, const Operand& weights, const Operand& lags, const Operand& steps,
         const Operand& starts) {
    std::size_t axis = front;
    while (axis > 0 && weights.sizes[axis - 1] == 1 && lags.sizes[axis - 1] == 1 &&
           steps.sizes[axis - 1] == result[axis - 1] && starts.sizes[axis - 1] == result[axis - 1])
      samples *= result[--axis];
    count = product(result, 0, axis);
  }
  std::int64_t count = 1, samples = 1;
};

// The arrays of both operations, and the problem that one pass over them is.
class Arrays {
 public:
  Arrays(const Options& options, const Floats& weights, const Ints& lags, const Steps& steps, const Ints& starts)
      : options_(options),
        weights_(weights.dimensions(), 2),
        lags_(lags.dimensions(), 3),
        steps_(steps.dimensions(), 2),
        starts_(starts.dimensions(), 2),
        weights_data_(weights.typed_data()),
        lags_data_(lags.typed_data()),
        steps_data_(steps.typed_data()),
        starts_data_(starts.typed_data()) {}

  bool fit(Sizes result, std::size_t own) const {
    const std::size_t front = result.size() - own;
    for (const Operand* operand : {&weights_, &lags_, &steps_, &starts_}) {
      if (operand->front != front) return false;
      for (std::size_t axis = 0; axis < front; ++axis)
        if (operand->sizes[axis] != 1 && operand->sizes[axis] != result[axis]) return false;
    }
    return lags_[1] == weights_[0] && weights_[1] == lags_[0] * lags_[2] + 1 && starts_[1] == lags_[0] + 1 &&
           starts_[0] == steps_[0] && options_.steps > options_.steps_in;
  }

  Passes passes(Sizes result, std::size_t front) const {
    return Passes(result, front, weights_, lags_, steps_, starts_);
  }

  // The problem of the index-th pass, with so many indices of the axes in front at once.
  Problem at(std::int64_t index, Sizes result, std::int64_t together) {
    const std::int64_t samples = together * starts_[0], channels = lags_[0], capacity = steps_[1];
    const std::int32_t* starts = starts_data_ + starts_.offset(index, result);
    rows_.resize(static_cast<std::size_t>(samples * (channels + 1)));
    for (std::int64_t s = 0, place = 0; s < samples; ++s)
      for (std::int64_t c = 0; c <= channels; ++c, ++place) {
        // a start outside its own row must not lead into that of another sample
        const std::int64_t start = starts[place];
        const bool inside = start >= 0 && start <= capacity;
        rows_[static_cast<std::size_t>(place)] = inside ? start + s * capacity : -1;
      }
    return Problem{samples,
                   channels,
                   lags_[1],
                   lags_[2],
                   options_.steps_in,
                   options_.steps,
                   options_.bias_steps,
                   samples * capacity,
                   options_.leak,
                   steps_data_ + steps_.offset(index, result),
                   rows_.data(),
                   weights_data_ + weights_.offset(index, result),
                   lags_data_ + lags_.offset(index, result)};
  }

 private:
  Options options_;
  Operand weights_, lags_, steps_, starts_;
  const float* weights_data_;
  const std::int32_t* lags_data_;
  const std::uint16_t* steps_data_;
  const std::int32_t* starts_data_;
  std::vector<std::int64_t> rows_;
};

// An operation's work; what it throws, for want of memory, must not reach XLA.
template <class Work>
ffi::Error guarded(const Work& work) {
  try {
    return work();
  } catch (...) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "denram: no memory for this batch.");
  }
}

ffi::Error shapes_differ() {
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, "denram: the shapes of the arrays do not fit together.");
}

ffi::Error meaning(int code) {
  if (code == 0) return ffi::Error::Success();
  if (code == 2)
    return ffi::Error(ffi::ErrorCode::kInvalidArgument,
                      "denram: spikes or lags lead outside of the network: starts must rise within the capacity, the "
                      "steps of a channel must rise within the input, and lags must lie between 0 and max_delay.");
  return ffi::Error(ffi::ErrorCode::kResourceExhausted, "denram: no memory for this batch.");
}

// scores, windows: (..., sample, n_out) and (..., sample, n_out, 3).
ffi::Error forward(std::int64_t method, std::int64_t threads, std::int64_t steps_in, std::int64_t steps,
                   std::int64_t bias_steps, float leak, Floats weights, Ints lags, Steps spike_steps, Ints starts,
                   ffi::Result<Floats> scores, ffi::Result<Ints> windows) {
  return guarded([&] {
    const Sizes result = scores->dimensions();
    Arrays arrays({threads, steps_in, steps, bias_steps, leak}, weights, lags, spike_steps, starts);
    if (!arrays.fit(result, 2)) return shapes_differ();
    const Passes passes = arrays.passes(result, result.size() - 2);
    const std::int64_t pairs = passes.samples * product(result, result.size() - 2, result.size());
    for (std::int64_t pass = 0; pairs > 0 && pass < passes.count; ++pass) {
      const Problem problem = arrays.at(pass * passes.samples, result, passes.samples);
      auto* places = reinterpret_cast<Window*>(windows->typed_data()) + pass * pairs;
      const int code = denram_forward(&problem, static_cast<int>(method), threads, places,
                                      scores->typed_data() + pass * pairs, nullptr, nullptr, nullptr);
      if (code != 0) return meaning(code);
    }
    return ffi::Error::Success();
  });
}

// upstream: (..., sample, n_out); gradient: (..., n_out, n_in * n_delays + 1).
ffi::Error backward(std::int64_t threads, std::int64_t steps_in, std::int64_t steps, std::int64_t bias_steps,
                    float leak, Floats weights, Ints lags, Steps spike_steps, Ints starts, Ints windows,
                    Floats upstream, ffi::Result<Floats> gradient) {
  return guarded([&] {
    const Sizes result = gradient->dimensions();
    Arrays arrays({threads, steps_in, steps, bias_steps, leak}, weights, lags, spike_steps, starts);
    const Operand peaks(windows.dimensions(), 3), slopes(upstream.dimensions(), 2);
    if (!arrays.fit(result, 2) || slopes.front != result.size() - 2 || peaks.front != slopes.front)
      return shapes_differ();
    const std::int64_t size = product(result, result.size() - 2, result.size());
    const std::int64_t count = product(result, 0, result.size() - 2);
    for (std::int64_t pass = 0; pass < count; ++pass) {
      const Problem problem = arrays.at(pass, result, 1);
      const auto* places = reinterpret_cast<const Window*>(windows.typed_data() + peaks.offset(pass, result));
      const int code = denram_backward(&problem, places, upstream.typed_data() + slopes.offset(pass, result), threads,
                                       gradient->typed_data() + pass * size, nullptr);
      if (code != 0) return meaning(code);
    }
    return ffi::Error::Success();
  });
}

}  // namespace
}  // namespace denram

#define DENRAM_OPERATION(name) extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* name(XLA_FFI_CallFrame*)
DENRAM_OPERATION(denram_xla_forward);
DENRAM_OPERATION(denram_xla_backward);

XLA_FFI_DEFINE_HANDLER_SYMBOL(denram_xla_forward, denram::forward,
                              xla::ffi::Ffi::Bind()
                                  .Attr<std::int64_t>("method")
                                  .Attr<std::int64_t>("threads")
                                  .Attr<std::int64_t>("steps_in")
                                  .Attr<std::int64_t>("steps")
                                  .Attr<std::int64_t>("bias_steps")
                                  .Attr<float>("leak")
                                  .Arg<denram::Floats>()
                                  .Arg<denram::Ints>()
                                  .Arg<denram::Steps>()
                                  .Arg<denram::Ints>()
                                  .Ret<denram::Floats>()
                                  .Ret<denram::Ints>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(denram_xla_backward, denram::backward,
                              xla::ffi::Ffi::Bind()
                                  .Attr<std::int64_t>("threads")
                                  .Attr<std::int64_t>("steps_in")
                                  .Attr<std::int64_t>("steps")
                                  .Attr<std::int64_t>("bias_steps")
                                  .Attr<float>("leak")
                                  .Arg<denram::Floats>()
                                  .Arg<denram::Ints>()
                                  .Arg<denram::Steps>()
                                  .Arg<denram::Ints>()
                                  .Arg<denram::Ints>()
                                  .Arg<denram::Floats>()
                                  .Ret<denram::Floats>());
