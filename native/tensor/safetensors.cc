#include "tensor/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "tensor/check.h"
#include "tensor/json.h"

namespace agentinfer {

namespace {

constexpr size_t kPrefix = 8;  // the header length

// Everything a message about one tensor needs.
struct Place {
  std::string_view file, tensor;
};

template <typename... Parts>
[[noreturn]] void invalid(const Place& place, Parts&&... parts) {
  fail(ErrorCode::kModelInvalid, place.file, ": tensor ", json_quote(place.tensor.substr(0, 200)), ": ",
       std::forward<Parts>(parts)...);
}

uint64_t read_header_length(std::span<const std::byte> file, std::string_view what) {
  if (file.size() < kPrefix + 2)
    fail(ErrorCode::kModelInvalid, what, ": ", file.size(), " bytes are too few for a safetensors file");
  uint64_t length = 0;
  for (size_t i = 0; i < kPrefix; ++i) length |= static_cast<uint64_t>(file[i]) << (8 * i);
  if (length > kMaxSafetensorsHeader)
    fail(ErrorCode::kModelInvalid, what, ": header of ", length, " bytes; expected at most ",
         kMaxSafetensorsHeader, " (is this a safetensors file?)");
  if (length > file.size() - kPrefix)
    fail(ErrorCode::kModelInvalid, what, ": header of ", length, " bytes in a file of ", file.size(),
         " bytes: the file is cut short");
  return length;
}

const Json& member(const Place& place, const Json& entry, std::string_view key) {
  const Json* const value = entry.find(key);
  if (!value) invalid(place, "\"", key, "\" is missing");
  return *value;
}

DType read_dtype(const Place& place, const Json& value) {
  if (!value.is_string()) invalid(place, "\"dtype\": expected a string, got ", value.describe());
  DType dtype{};
  if (!dtype_from_name(value.as_string(), dtype))
    fail(ErrorCode::kModelUnsupported, place.file, ": tensor ", json_quote(place.tensor.substr(0, 200)),
         ": dtype ", value.describe(), " is not supported; expected F32, F16, BF16, I8, U8, I32 or I64");
  return dtype;
}

std::vector<int64_t> read_extents(const Place& place, const Json& value, std::string_view key) {
  if (!value.is_array()) invalid(place, "\"", key, "\": expected an array, got ", value.describe());
  std::vector<int64_t> extents;
  extents.reserve(value.items().size());
  for (const Json& item : value.items()) {
    if (!item.is_int() || item.as_int() < 0)
      invalid(place, "\"", key, "\": expected integers of at least 0, got ", item.describe());
    extents.push_back(item.as_int());
  }
  return extents;
}

// Element count times element size; refuses what does not fit, so that TensorView::elements() cannot
// overflow.
uint64_t byte_count(const Place& place, const TensorView& tensor) {
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  uint64_t bytes = dtype_size(tensor.dtype);
  for (const int64_t extent : tensor.shape) {
    const auto factor = static_cast<uint64_t>(extent);
    if (factor != 0 && bytes > kMax / factor)
      invalid(place, "shape ", shape_string(tensor.shape), " overflows");
    bytes *= factor;
  }
  return bytes;
}

TensorView read_tensor(const Place& place, const Json& entry, std::span<const std::byte> data,
                       size_t data_begin) {
  if (!entry.is_object()) invalid(place, "expected an object, got ", entry.describe());
  for (const JsonMember& field : entry.members())
    if (field.key != "dtype" && field.key != "shape" && field.key != "data_offsets")
      invalid(place, "unknown field ", json_quote(field.key.substr(0, 200)));
  TensorView tensor;
  tensor.name = place.tensor;
  tensor.dtype = read_dtype(place, member(place, entry, "dtype"));
  tensor.shape = read_extents(place, member(place, entry, "shape"), "shape");
  const std::vector<int64_t> offsets =
      read_extents(place, member(place, entry, "data_offsets"), "data_offsets");
  if (offsets.size() != 2) invalid(place, "\"data_offsets\": expected 2 integers, got ", offsets.size());
  const auto begin = static_cast<uint64_t>(offsets[0]), end = static_cast<uint64_t>(offsets[1]);
  if (begin > end || end > data.size())
    invalid(place, "data_offsets ", shape_string(offsets), " do not lie in the ", data.size(),
            " bytes of data");
  const uint64_t bytes = byte_count(place, tensor);
  if (end - begin != bytes)
    invalid(place, "shape ", shape_string(tensor.shape), " of ", dtype_name(tensor.dtype), " needs ", bytes,
            " bytes, data_offsets ", shape_string(offsets), " hold ", end - begin);
  if ((data_begin + begin) % dtype_size(tensor.dtype) != 0)
    invalid(place, "data begins at byte ", data_begin + begin,
            " of the file; expected a multiple of the element size ", dtype_size(tensor.dtype));
  tensor.data = data.subspan(begin, bytes);
  return tensor;
}

void read_metadata(const Json& value, std::string_view what, SafetensorsIndex& index) {
  if (!value.is_object())
    fail(ErrorCode::kModelInvalid, what, ": __metadata__: expected an object, got ", value.describe());
  for (const JsonMember& entry : value.members()) {
    if (!entry.value.is_string())
      fail(ErrorCode::kModelInvalid, what, ": __metadata__ ", json_quote(entry.key.substr(0, 200)),
           ": expected a string, got ", entry.value.describe());
    index.metadata.emplace_back(entry.key, entry.value.as_string());
  }
}

// Sorts by place and demands that the tensors cover the data without holes or overlaps.
void check_coverage(std::span<const std::byte> data, std::string_view what,
                    std::vector<TensorView>& tensors) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorView& a, const TensorView& b) {
    return a.data.data() != b.data.data() ? a.data.data() < b.data.data() : a.data.size() < b.data.size();
  });
  size_t covered = 0;
  for (const TensorView& tensor : tensors) {
    const auto begin = static_cast<size_t>(tensor.data.data() - data.data());
    if (begin != covered)
      invalid({what, tensor.name}, "data begins at offset ", begin,
              begin < covered ? ", inside" : ", leaving a hole after",
              " the tensor before it, which ends at ", covered);
    covered += tensor.data.size();
  }
  if (covered != data.size())
    fail(ErrorCode::kModelInvalid, what, ": the tensors cover ", covered, " of ", data.size(),
         " bytes of data");
}

}  // namespace

bool dtype_from_name(std::string_view name, DType& dtype) {
  for (const DType candidate :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kI8, DType::kU8, DType::kI32, DType::kI64}) {
    if (dtype_name(candidate) != name) continue;
    dtype = candidate;
    return true;
  }
  return false;
}

SafetensorsIndex parse_safetensors(std::span<const std::byte> file, std::string_view what) {
  const auto length = static_cast<size_t>(read_header_length(file, what));
  const std::string_view header(reinterpret_cast<const char*>(file.data()) + kPrefix, length);
  if (!header.starts_with('{'))
    fail(ErrorCode::kModelInvalid, what, ": expected the header to begin with '{'");
  const std::span<const std::byte> data = file.subspan(kPrefix + length);
  const JsonDocument document = parse_json(header, std::string(what) + ": header");
  SafetensorsIndex index;
  index.tensors.reserve(document.root().members().size());
  for (const JsonMember& entry : document.root().members()) {
    if (entry.key == "__metadata__") {
      read_metadata(entry.value, what, index);
    } else {
      index.tensors.push_back(read_tensor({what, entry.key}, entry.value, data, kPrefix + length));
    }
  }
  check_coverage(data, what, index.tensors);
  return index;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), index_(parse_safetensors(file_.bytes(), path.string())) {
  by_name_.reserve(index_.tensors.size());
  for (size_t i = 0; i < index_.tensors.size(); ++i) by_name_.emplace(index_.tensors[i].name, i);
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &index_.tensors[found->second];
}

}  // namespace agentinfer
