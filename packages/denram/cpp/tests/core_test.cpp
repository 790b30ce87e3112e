// Random networks and spikes through both forward methods and the backward pass: every instruction set stays near sums
// in double precision, any number of threads gives the same bits, and arrays that lead outside are refused.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "common/isa.hpp"
#include "engine.hpp"
#include "passes.hpp"

namespace {

using denram::Problem;
using denram::size;
using denram::Window;

// Arrays of one problem, which borrows them.
struct Case {
  std::vector<std::uint16_t> spikes;
  std::vector<std::int64_t> starts;
  std::vector<float> weights, upstream;
  std::vector<std::int32_t> lags;
  Problem problem{};

  explicit Case(std::mt19937& stream) {
    const auto draw = [&](int low, int high) { return std::uniform_int_distribution<>(low, high)(stream); };
    Problem& p = problem;
    p.n_samples = draw(1, 5);
    p.n_in = draw(1, 40);
    p.n_out = draw(1, 6);
    p.n_delays = draw(1, 5);
    p.steps_in = draw(2, 60);
    const int longest = draw(1, 40);
    p.steps = p.steps_in + longest;
    p.bias_steps = draw(0, static_cast<int>(p.steps));
    p.leak = 0.9F;
    for (std::int64_t s = 0; s < p.n_samples; ++s) {
      for (std::int64_t c = 0; c < p.n_in; ++c) {
        starts.push_back(static_cast<std::int64_t>(spikes.size()));
        const int every = draw(2, 30);  // many spikes in some channels, few in others
        for (int t = 0; t < p.steps_in; ++t)
          if (draw(1, every) == 1 || (c + s == 0 && t < 2)) spikes.push_back(static_cast<std::uint16_t>(t));
      }
      starts.push_back(static_cast<std::int64_t>(spikes.size()));
    }
    std::normal_distribution<float> number(0.1F, 1.0F);
    for (std::int64_t k = 0; k < p.n_out * (p.n_in * p.n_delays + 1); ++k) weights.push_back(number(stream));
    for (std::int64_t k = 0; k < p.n_samples * p.n_out; ++k) upstream.push_back(number(stream));
    for (std::int64_t k = 0; k < p.n_in * p.n_out * p.n_delays; ++k) lags.push_back(draw(0, longest));
    borrow();
  }

  void borrow() {
    problem.n_spikes = static_cast<std::int64_t>(spikes.size());
    problem.spike_steps = spikes.data();
    problem.starts = starts.data();
    problem.weights = weights.data();
    problem.lags = lags.data();
  }
};

struct Result {
  std::vector<Window> windows;
  std::vector<float> scores, gradient;
  int code = 0;
  explicit Result(const Case& c)
      : windows(size(c.problem.n_samples * c.problem.n_out)), scores(windows.size()), gradient(c.weights.size()) {}
  bool same(const Result& other) const { return scores == other.scores && gradient == other.gradient; }
};

Result run(const Case& c, int method, int threads) {
  Result r(c);
  r.code = denram_forward(&c.problem, method, threads, r.windows.data(), r.scores.data(), nullptr, nullptr, nullptr);
  if (r.code == 0)
    r.code = denram_backward(&c.problem, r.windows.data(), c.upstream.data(), threads, r.gradient.data(), nullptr);
  return r;
}

// The same in double precision, step by step: scores and the gradient of sum upstream * score.
struct Reference {
  std::vector<double> scores, gradient;

  explicit Reference(const Case& c) : gradient(c.weights.size()) {
    const Problem& p = c.problem;
    for (std::int64_t pair = 0; pair < p.n_samples * p.n_out; ++pair) one(c, pair / p.n_out, pair % p.n_out);
  }

 private:
  // Calls use(step, place of its weight) for every current that flows.
  template <class Use>
  static void currents(const Problem& p, std::int64_t sample, std::int64_t output, const Use& use) {
    const std::int64_t row = output * (p.n_in * p.n_delays + 1);
    for (std::int64_t c = 0; c < p.n_in; ++c)
      for (std::int64_t d = 0; d < p.n_delays; ++d)
        for (std::int64_t e = p.starts[sample * (p.n_in + 1) + c]; e < p.starts[sample * (p.n_in + 1) + c + 1]; ++e)
          use(size(p.spike_steps[e] + p.lags[(c * p.n_out + output) * p.n_delays + d]), size(row + c * p.n_delays + d));
    for (std::int64_t s = 0; s < p.bias_steps; ++s) use(size(s), size(row + p.n_in * p.n_delays));
  }

  void one(const Case& c, std::int64_t sample, std::int64_t output) {
    const Problem& p = c.problem;
    const auto leak = static_cast<double>(p.leak);
    std::vector<double> drive(size(p.steps)), potential(drive.size()), slope(drive.size());
    currents(p, sample, output, [&](std::size_t s, std::size_t w) { drive[s] += static_cast<double>(c.weights[w]); });
    for (std::size_t s = 0; s < drive.size(); ++s) {
      if (s > 0) drive[s] += leak * potential[s - 1];
      potential[s] = std::max(0.0, drive[s]);
    }
    const double top = *std::max_element(potential.begin(), potential.end());
    const auto many = static_cast<double>(std::count(potential.begin(), potential.end(), top));
    double later = 0;
    for (std::size_t s = drive.size(); s-- > 0;) {
      later = (drive[s] > 0 ? 1.0 : drive[s] < 0 ? 0.0 : 0.5) * ((potential[s] == top ? 1 / many : 0.0) + leak * later);
      slope[s] = later * static_cast<double>(c.upstream[size(sample * p.n_out + output)]);
    }
    currents(p, sample, output, [&](std::size_t s, std::size_t w) { gradient[w] += slope[s]; });
    scores.push_back(top);
  }
};

bool near(const std::vector<float>& found, const std::vector<double>& wanted) {
  double largest = 1, error = 0;
  for (const double x : wanted) largest = std::max(largest, std::abs(x));
  for (std::size_t k = 0; k < wanted.size(); ++k)
    error = std::max(error, std::abs(static_cast<double>(found[k]) - wanted[k]));
  return error < 1e-4 * largest;
}

// Each array led outside in one place. The first channel of the first sample has two spikes at least.
bool wrong_arrays_are_refused(Case& c) {
  Result r(c);
  bool good = run(c, 1, 1).code == 0;
  const auto refused = [&](auto& place, auto value) {
    const auto before = place;
    place = value;
    for (const int method : {1, 2})
      good = good &&
             denram_forward(&c.problem, method, 2, r.windows.data(), r.scores.data(), nullptr, nullptr, nullptr) == 2;
    place = before;
  };
  refused(c.lags.back(), static_cast<std::int32_t>(c.problem.steps - c.problem.steps_in + 1));
  refused(c.lags.front(), -1);
  refused(c.starts.front(), std::int64_t{-1});
  refused(c.starts.back(), static_cast<std::int64_t>(c.spikes.size()) + 1);
  refused(c.spikes[1], c.spikes[0]);
  refused(c.spikes[static_cast<std::size_t>(c.starts[1]) - 1], static_cast<std::uint16_t>(c.problem.steps_in));
  r.windows[0].peak = static_cast<std::int32_t>(c.problem.steps);
  return good && denram_backward(&c.problem, r.windows.data(), c.upstream.data(), 1, r.gradient.data(), nullptr) == 2;
}

std::string check(const Case& c, const Reference& wanted) {
  for (const int method : {1, 2}) {
    const Result one = run(c, method, 1);
    const std::string name = method == 1 ? "adding" : "transforms";
    if (one.code != 0) return name + " failed";
    if (!near(one.scores, wanted.scores)) return "the scores of " + name + " are wrong";
    if (!near(one.gradient, wanted.gradient)) return "the gradient after " + name + " is wrong";
    for (const int threads : {2, 5})
      if (!one.same(run(c, method, threads))) return name + " in threads gives other bits";
  }
  return "";
}

}  // namespace

int main() {
  std::mt19937 stream(11);
  for (int round = 0; round < 40; ++round) {
    Case c(stream);
    const Reference wanted(c);
    for (const std::string& isa : core::all_isa()) {
      denram::use_kernels(isa);
      const std::string wrong = check(c, wanted);
      if (!wrong.empty()) return std::printf("round %d, %s: %s\n", round, isa.c_str(), wrong.c_str()), 1;
    }
    if (!wrong_arrays_are_refused(c)) return std::printf("round %d: a wrong array is taken\n", round), 1;
  }
  std::printf("40 networks, every instruction set and method: no error\n");
}
