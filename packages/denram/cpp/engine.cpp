// The C functions Python calls.
#include "engine.hpp"

#include <atomic>
#include <chrono>
#include <exception>
#include <string>
#include <vector>

#include "passes.hpp"

namespace denram {
namespace {

// Whether transforms are expected to be faster than adding single spikes; constants measured, see the benchmarks.
bool spectral_pays(const Problem& p) {
  double events = 0;
  for (std::int64_t s = 0; s < p.n_samples; ++s) {
    const std::int64_t* starts = p.starts + s * (p.n_in + 1);
    events += static_cast<double>(starts[p.n_in] - starts[0]);
  }
  const auto outputs = static_cast<double>(p.n_out), steps = static_cast<double>(p.steps);
  const double lanes = static_cast<double>(kernels().lanes);
  const double adding = events * outputs * static_cast<double>(p.n_delays);
  const double product = static_cast<double>(p.n_samples * p.n_in) * outputs * steps * 2 / lanes;
  const double transforms = (events + static_cast<double>(p.n_in * p.n_delays) * outputs) * steps * 2 / lanes;
  return product + transforms < adding * 1.5;
}

// Whether the spikes of a sample lead inside: its row of `starts` rises within the spikes, and the spikes of each
// channel rise within the input.
bool spikes_inside(const Problem& p, std::int64_t sample) {
  const std::int64_t* starts = p.starts + sample * (p.n_in + 1);
  if (starts[0] < 0 || starts[p.n_in] > p.n_spikes) return false;
  for (std::int64_t c = 0; c < p.n_in; ++c) {
    if (starts[c + 1] < starts[c] || starts[c + 1] > p.n_spikes) return false;
    std::int64_t before = -1;
    for (std::int64_t event = starts[c]; event < starts[c + 1]; ++event) {
      const std::int64_t step = p.spike_steps[event];
      if (step <= before) return false;
      before = step;
    }
    if (before >= p.steps_in) return false;
  }
  return true;
}

// Whether every index leads inside of its array. One walk over what the passes walk over many times.
bool inside(const Problem& p, const Team& team) {
  std::atomic<bool> all{true};
  parallel(p.n_samples, team, [&] {
    return [&](std::int64_t sample) {
      if (!spikes_inside(p, sample)) all = false;
    };
  });
  return all && longest_lag(p) <= p.steps - p.steps_in;
}

// Windows come from a forward pass, but are borrowed from the caller like any array.
bool windows_inside(const Problem& p, const Window* windows) {
  for (std::int64_t pair = 0; pair < p.n_samples * p.n_out; ++pair) {
    const Window& w = windows[pair];
    if (w.first < 0 || w.peak < 0 || w.peak >= p.steps || w.first > w.peak + 1) return false;
  }
  return true;
}

struct Interrupted {};  // Python's exception is set

// Gives Python's lock back while it lives, and lets Python handle its signals every 50 ms.
class Released {
 public:
  explicit Released(const Python* python) : python_(python) {
    if (python_) thread_ = python_->save();
  }
  ~Released() {
    if (python_) python_->restore(thread_);
  }
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;

  void look_for_signals() {
    const auto now = std::chrono::steady_clock::now();
    if (!python_ || now - last_ < std::chrono::milliseconds(50)) return;
    last_ = now;
    python_->restore(thread_);
    const bool raised = python_->check_signals() != 0;
    thread_ = python_->save();
    if (raised) throw Interrupted();
  }

 private:
  const Python* python_;
  void* thread_ = nullptr;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace
}  // namespace denram

using denram::Problem;
using denram::Window;

int denram_isa(const char** text) noexcept {
  static thread_local std::string refusal;
  try {
    *text = denram::kernels().name;
    return 0;
  } catch (const std::exception& error) {
    refusal = error.what();
    *text = refusal.c_str();
    return 2;
  }
}

int denram_abi() { return DENRAM_ABI; }

int denram_forward(const Problem* problem, int method, std::int64_t threads, Window* windows, float* scores,
                   float* currents, float* potentials, const denram::Python* python) noexcept {
  try {
    denram::Released released(python);
    const denram::Team team{threads, [&] { released.look_for_signals(); }};
    if (!denram::inside(*problem, team)) return 2;
    const std::vector<float> taps = denram::taps_of(*problem);
    const bool spectral = !currents && (method == 2 || (method == 0 && denram::spectral_pays(*problem)));
    if (spectral)
      denram::forward_spectral(*problem, taps.data(), team, windows, scores);
    else
      denram::forward_scatter(*problem, taps.data(), team, windows, scores, currents, potentials);
    return 0;
  } catch (const denram::Interrupted&) {
    return 3;
  } catch (...) {
    return 1;
  }
}

int denram_backward(const Problem* problem, const Window* windows, const float* upstream, std::int64_t threads,
                    float* gradient, const denram::Python* python) noexcept {
  try {
    denram::Released released(python);
    const denram::Team team{threads, [&] { released.look_for_signals(); }};
    if (!denram::inside(*problem, team) || !denram::windows_inside(*problem, windows)) return 2;
    denram::backward(*problem, windows, upstream, team, gradient);
    return 0;
  } catch (const denram::Interrupted&) {
    return 3;
  } catch (...) {
    return 1;
  }
}
