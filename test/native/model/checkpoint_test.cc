#include "model/checkpoint.h"

#include "check.h"
#include "temp_folder.h"
#include "tensor/safetensors_writer.h"

namespace agentinfer {
namespace {

constexpr ErrorCode kBad = ErrorCode::kModelInvalid;

// One I8 tensor of 4 bytes for each name, filled with the name's last character.
void write_file(const std::filesystem::path& path, const std::vector<std::string>& names) {
  std::vector<TensorSpec> specs;
  for (const std::string& name : names) specs.push_back({name, DType::kI8, {2, 2}});
  SafetensorsWriter writer(path, specs);
  for (size_t i = 0; i < names.size(); ++i)
    writer.write(i, std::vector<std::byte>(4, static_cast<std::byte>(names[i].back())));
  writer.finish();
}

std::string index_text(const std::string& weight_map) {
  return R"({"metadata": {"total_size": 12}, "weight_map": )" + weight_map + "}";
}

constexpr const char* kIndexName = "model.safetensors.index.json";

TEST("one file, under its usual name or any other") {
  for (const char* name : {"model.safetensors", "quant_model_weight_w8a8_dynamic.safetensors"}) {
    const check::TempFolder folder;
    write_file(folder / name, {"b", "a"});
    const Checkpoint checkpoint(folder.path());
    CHECK(checkpoint.names() == (std::vector<std::string>{"a", "b"}));
    CHECK_EQ(checkpoint.total_bytes(), 8u);
    CHECK_EQ(checkpoint.files().size(), 1u);
    CHECK(checkpoint.find("a")->data[3] == std::byte{'a'});
    CHECK(checkpoint.find("c") == nullptr);
  }
}

TEST("shards: every tensor is found, and its bytes survive a release and a move") {
  const check::TempFolder folder;
  write_file(folder / "x-1.safetensors", {"b", "c"});
  write_file(folder / "x-2.safetensors", {"a"});
  write_file(folder / "unrelated.safetensors", {"zz"});
  folder.write(kIndexName,
               index_text(R"({"a": "x-2.safetensors", "b": "x-1.safetensors", "c": "x-1.safetensors"})"));
  Checkpoint first(folder.path());
  const TensorView* const view = first.find("c");
  first.release(*view);
  const Checkpoint second(std::move(first));
  CHECK(second.names() == (std::vector<std::string>{"a", "b", "c"}));
  CHECK(second.find("c") == view);
  for (const char* name : {"a", "b", "c"}) CHECK(second.find(name)->data[0] == static_cast<std::byte>(*name));
}

TEST("index and shards that disagree are refused") {
  const check::TempFolder folder;
  write_file(folder / "x.safetensors", {"a", "b"});
  write_file(folder / "y.safetensors", {"c"});
  const auto open = [&](const std::string& weight_map) {
    folder.write(kIndexName, index_text(weight_map));
    return Checkpoint(folder.path()).names().size();
  };
  CHECK_EQ(open(R"({"a": "x.safetensors", "b": "x.safetensors", "c": "y.safetensors"})"), 3u);
  CHECK_THROWS(open(R"({"a": "x.safetensors", "c": "y.safetensors"})"), kBad,
               "holds tensor \"b\", which the index does not list");
  CHECK_THROWS(open(R"({"a": "x.safetensors", "b": "y.safetensors", "c": "y.safetensors"})"), kBad,
               "holds tensor \"b\", which the index places in y.safetensors");
  CHECK_THROWS(open(R"({"a": "x.safetensors", "b": "x.safetensors", "d": "x.safetensors"})"), kBad,
               "lacks tensor \"d\"");
  CHECK_THROWS(open(R"({"a": "none.safetensors"})"), kBad,
               "shard none.safetensors, which is not in the folder");
  CHECK_THROWS(open(R"({"a": 1})"), kBad, "\"a\": expected the name of a shard, got 1");
  CHECK_THROWS(open("{}"), kBad, "\"weight_map\" is empty");
  CHECK_THROWS(open("[]"), kBad, "expected an object \"weight_map\"");
  folder.write(kIndexName, "[1]");
  CHECK_THROWS(Checkpoint(folder.path()), kBad, "expected an object \"weight_map\"");
  folder.write(kIndexName, "{");
  CHECK_THROWS(Checkpoint(folder.path()), kBad, "model.safetensors.index.json: line 1");
}

TEST("a shard name cannot leave the folder") {
  const check::TempFolder outside, folder;
  write_file(outside / "x.safetensors", {"a"});
  std::filesystem::create_directories(folder / "sub");
  write_file(folder / "sub" / "x.safetensors", {"a"});
  write_file(folder / ".safetensors", {"a"});
  const std::string elsewhere = outside.path().filename().string();
  for (const std::string& name : {"../" + elsewhere + "/x.safetensors", (outside / "x.safetensors").string(),
                                  std::string("sub/x.safetensors"), std::string("..\\\\x.safetensors"),
                                  std::string("x.bin"), std::string(".safetensors"), std::string(),
                                  std::string("/dev/zero"), std::string("a\\u0000.safetensors")}) {
    folder.write(kIndexName, index_text("{\"a\": \"" + name + "\"}"));
    CHECK_THROWS(Checkpoint(folder.path()), kBad,
                 "expected the name of a .safetensors file in the same folder");
  }
}

TEST("folders without one clear set of tensors are refused") {
  const check::TempFolder folder;
  CHECK_THROWS(Checkpoint(folder / "absent"), ErrorCode::kIo, "expected a folder");
  CHECK_THROWS(Checkpoint(folder.path()), kBad, "no .safetensors file");
  folder.write("pytorch_model.bin", "x");
  CHECK_THROWS(Checkpoint(folder.path()), ErrorCode::kModelUnsupported, "convert the model to safetensors");
  write_file(folder / "a.safetensors", {"a"});
  write_file(folder / "b.safetensors", {"b"});
  CHECK_THROWS(Checkpoint(folder.path()), kBad, "2 .safetensors files");
  write_file(folder / "model.safetensors", {"m"});
  CHECK_EQ(Checkpoint(folder.path()).names()[0], "m");
  folder.write(kIndexName, index_text(R"({"a": "a.safetensors"})"));
  CHECK_THROWS(Checkpoint(folder.path()), kBad,
               "holds both model.safetensors and model.safetensors.index.json");
  folder.write(kIndexName, index_text(R"({"m": "model.safetensors"})"));
  CHECK_EQ(Checkpoint(folder.path()).names()[0], "m");
}

TEST("16-bit scales appear as F32, whatever their alignment") {
  const check::TempFolder folder;
  SafetensorsWriter writer(folder / "model.safetensors", {{"p.weight_scale", DType::kBF16, {3, 1}},
                                                          {"q.weight_scale", DType::kF16, {2}},
                                                          {"r", DType::kBF16, {1}}});
  const uint16_t bf16[] = {0x3f80, 0xbe80, 0x4049}, f16[] = {0x3c00, 0x3555};
  writer.write(0, std::as_bytes(std::span(bf16)));
  writer.write(1, std::as_bytes(std::span(f16)));
  writer.write(2, std::as_bytes(std::span(bf16)).first(2));
  writer.finish();
  const Checkpoint checkpoint(folder.path());
  const auto values = [&](const char* name) {
    const TensorView& view = *checkpoint.find(name);
    CHECK(view.dtype == DType::kF32);
    std::vector<float> out(view.data.size() / 4);
    std::memcpy(out.data(), view.data.data(), view.data.size());
    checkpoint.release(view);  // no mapped pages behind it: nothing happens
    return out;
  };
  CHECK(values("p.weight_scale") == (std::vector<float>{1.0f, -0.25f, 3.140625f}));
  CHECK(values("q.weight_scale") == (std::vector<float>{1.0f, 0.333251953125f}));
  CHECK(checkpoint.find("p.weight_scale")->shape == (std::vector<int64_t>{3, 1}));
  CHECK(checkpoint.find("r")->dtype == DType::kBF16);
}

}  // namespace
}  // namespace agentinfer

CHECK_MAIN
