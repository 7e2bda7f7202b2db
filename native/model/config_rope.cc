#include "model/config_rope.h"

#include <cmath>
#include <numbers>
#include <string>
#include <tuple>

namespace agentinfer {

namespace {

constexpr double kMaxTheta = 1e15;
constexpr double kMaxFactor = 1e6;

struct Rope {
  std::optional<double> theta;
  std::optional<Llama3RopeScaling> scaling;

  bool operator==(const Rope& other) const {
    const auto key = [](const Rope& rope) {
      const Llama3RopeScaling s = rope.scaling.value_or(Llama3RopeScaling{});
      return std::tuple(s.factor, s.low_freq_factor, s.high_freq_factor, s.original_max_position_embeddings);
    };
    return key(*this) == key(other);
  }
};

// rope_scaling names its type "rope_type" or, in older files, "type"; some carry both.
std::string_view scaling_type(const ConfigValues& values) {
  const auto type = values.string("type"), rope_type = values.string("rope_type");
  if (type && rope_type && *type != *rope_type)
    values.invalid("type", "is ", json_quote(*type), " but \"rope_type\" is ", json_quote(*rope_type));
  return rope_type ? *rope_type : type ? *type : "default";
}

Llama3RopeScaling read_llama3(const ConfigValues& values) {
  Llama3RopeScaling scaling;
  scaling.factor = values.required("factor", values.number("factor", 0, kMaxFactor));
  scaling.low_freq_factor =
      values.required("low_freq_factor", values.number("low_freq_factor", 0, kMaxFactor));
  scaling.high_freq_factor =
      values.required("high_freq_factor", values.number("high_freq_factor", 0, kMaxFactor));
  scaling.original_max_position_embeddings =
      values.required("original_max_position_embeddings",
                      values.integer("original_max_position_embeddings", 1, int64_t{1} << 30));
  if (scaling.factor < 1) values.invalid("factor", "must be at least 1, got ", scaling.factor);
  if (scaling.high_freq_factor <= scaling.low_freq_factor)
    values.invalid("high_freq_factor", "must be above low_freq_factor ", scaling.low_freq_factor, ", got ",
                   scaling.high_freq_factor);
  return scaling;
}

Rope read_object(const ConfigValues& values) {
  const std::string_view type = scaling_type(values);
  if (type != "default" && type != "llama3")
    values.unsupported("rope_type", "is ", json_quote(type.substr(0, 80)),
                       "; supported are \"default\" and \"llama3\"");
  const bool llama3 = type == "llama3";
  for (const JsonMember& member : values.object().members()) {
    const std::string_view key = member.key;
    const bool common = key == "type" || key == "rope_type" || key == "rope_theta";
    const bool of_llama3 = key == "factor" || key == "low_freq_factor" || key == "high_freq_factor" ||
                           key == "original_max_position_embeddings";
    const bool whole =
        key == "partial_rotary_factor" && member.value.is_number() && member.value.as_double() == 1;
    if (!member.value.is_null() && !common && !whole && !(llama3 && of_llama3))
      values.unsupported(key, "is not understood with rope type ", json_quote(type), ": ",
                         member.value.describe());
  }
  Rope rope;
  rope.theta = values.number("rope_theta", 0, kMaxTheta);
  if (llama3) rope.scaling = read_llama3(values);
  return rope;
}

std::optional<Rope> read_named(const ConfigValues& values, std::string_view key) {
  const Json* const object = values.find(key);
  if (!object) return std::nullopt;
  return read_object(ConfigValues(*object, values.what() + ": " + std::string(key)));
}

}  // namespace

void read_rope(const ConfigValues& values, ModelConfig& config) {
  std::optional<double> theta = values.number("rope_theta", 0, kMaxTheta);
  const std::optional<Rope> scaling = read_named(values, "rope_scaling");
  const std::optional<Rope> parameters = read_named(values, "rope_parameters");
  if (scaling && parameters && !(*scaling == *parameters))
    values.invalid("rope_scaling", "contradicts \"rope_parameters\"");
  for (const std::optional<Rope>& source : {scaling, parameters}) {
    if (!source) continue;
    if (theta && source->theta && *theta != *source->theta)
      values.invalid("rope_theta", "is given twice, as ", *theta, " and as ", *source->theta);
    if (source->theta) theta = source->theta;
    if (source->scaling) config.rope_scaling = source->scaling;
  }
  // The first Llama models were published before the key existed; for all others a default would be a guess.
  if (!theta && config.architecture == Architecture::kLlama) theta = 10000.0;
  config.rope_theta = values.required("rope_theta", theta);
}

// Llama 3.1's adjustment: wavelengths beyond original / low_freq_factor are stretched by `factor`, those
// below original / high_freq_factor are kept, and between them the two are blended linearly in original /
// wavelength.
std::vector<float> rope_inv_freq(const ModelConfig& config) {
  std::vector<float> result(static_cast<size_t>(config.head_dim / 2));
  for (size_t i = 0; i < result.size(); ++i) {
    double frequency =
        std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (config.rope_scaling) {
      const Llama3RopeScaling& scaling = *config.rope_scaling;
      const double turns =
          static_cast<double>(scaling.original_max_position_embeddings) * frequency / (2 * std::numbers::pi);
      double kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
      kept = std::fmin(std::fmax(kept, 0.0), 1.0);
      frequency = (1 - kept) * frequency / scaling.factor + kept * frequency;
    }
    result[i] = static_cast<float>(frequency);
  }
  return result;
}

}  // namespace agentinfer
