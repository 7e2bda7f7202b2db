#include "backend/ascend/call.h"

#include <algorithm>
#include <utility>

#include "backend/ascend/status.h"
#include "tensor/check.h"

namespace agentinfer {

void* Workspace::need(size_t bytes) {
  if (bytes <= memory_.bytes()) return memory_.get();
  if (memory_.get() != nullptr) {
    if (on_move_) on_move_();
    device_.synchronize();
    memory_.reset();
  }
  memory_ = DeviceMemory(device_, (bytes + 511) / 512 * 512, "operators' work memory");
  return memory_.get();
}

Call::~Call() {
  const acl::RuntimeFunctions& rt = device_.rt();
  if (executor_ != nullptr) rt.aclDestroyAclOpExecutor(executor_);
  for (const auto* one : lists_) rt.aclDestroyTensorList(one);
  for (const auto* one : tensors_) rt.aclDestroyTensor(one);
  for (const auto* one : arrays_) rt.aclDestroyIntArray(one);
  for (const auto* one : scalars_) rt.aclDestroyScalar(one);
}

acl::aclTensor* Call::tensor(Dims dims, Dims strides, Dims storage, acl::aclDataType type, const void* at,
                             acl::aclFormat format) {
  acl::aclTensor* made = device_.rt().aclCreateTensor(
      dims.begin(), dims.size(), type, strides.size() == 0 ? nullptr : strides.begin(), 0, format,
      storage.size() == 0 ? dims.begin() : storage.begin(),
      storage.size() == 0 ? dims.size() : storage.size(), const_cast<void*>(at));
  if (made == nullptr)
    fail(ErrorCode::kDevice, "aclCreateTensor gave nothing. CANN says: ", recent_message(device_.rt()));
  return made;
}

acl::T Call::in(Dims dims, acl::aclDataType type, const void* at) {
  return in_view(dims, {}, {}, type, at);
}

acl::T Call::in_view(Dims dims, Dims strides, Dims storage, acl::aclDataType type, const void* at,
                     acl::aclFormat format) {
  acl::aclTensor* made = tensor(dims, strides, storage, type, at, format);
  tensors_.push_back(made);
  arguments_.push_back({.tensor = made, .output = false, .index = next_input_++, .at = at});
  return made;
}

acl::Out Call::out(Dims dims, acl::aclDataType type, const void* at) {
  acl::aclTensor* made = tensor(dims, {}, {}, type, at);
  tensors_.push_back(made);
  arguments_.push_back({.tensor = made, .output = true, .index = next_output_++, .at = at});
  return made;
}

acl::Out Call::in_out(Dims dims, acl::aclDataType type, const void* at) {
  acl::aclTensor* made = tensor(dims, {}, {}, type, at);
  tensors_.push_back(made);
  ++next_input_;
  ++next_output_;
  return made;
}

acl::Out Call::fixed_out(Dims dims, acl::aclDataType type, const void* at) {
  acl::aclTensor* made = tensor(dims, {}, {}, type, at);
  tensors_.push_back(made);
  ++next_output_;
  return made;
}

const acl::aclTensorList* Call::in_list(Dims dims, acl::aclDataType type, const void* at) {
  acl::aclTensor* made = tensor(dims, {}, {}, type, at);
  acl::aclTensorList* list = device_.rt().aclCreateTensorList(&made, 1);
  if (list == nullptr) {
    tensors_.push_back(made);
    fail(ErrorCode::kDevice, "aclCreateTensorList gave nothing. CANN says: ", recent_message(device_.rt()));
  }
  lists_.push_back(list);
  arguments_.push_back({.list = list, .output = false, .index = next_input_++, .at = at});
  return list;
}

acl::Out Call::list_member(Dims dims, acl::aclDataType type, const void* at) {
  acl::aclTensor* made = tensor(dims, {}, {}, type, at);
  tensors_.push_back(made);
  return made;
}

acl::aclTensorList* Call::out_list(std::span<acl::Out> members) {
  acl::aclTensorList* list = device_.rt().aclCreateTensorList(members.data(), members.size());
  if (list == nullptr)
    fail(ErrorCode::kDevice, "aclCreateTensorList gave nothing. CANN says: ", recent_message(device_.rt()));
  lists_.push_back(list);
  tensors_.resize(tensors_.size() - members.size());
  ++next_output_;
  return list;
}

const acl::aclIntArray* Call::ints(std::span<const int64_t> values) {
  const acl::aclIntArray* made = device_.rt().aclCreateIntArray(values.data(), values.size());
  if (made == nullptr)
    fail(ErrorCode::kDevice, "aclCreateIntArray gave nothing. CANN says: ", recent_message(device_.rt()));
  arrays_.push_back(made);
  ++next_input_;
  return made;
}

const acl::aclScalar* Call::scalar(float value) {
  const acl::aclScalar* made = device_.rt().aclCreateScalar(&value, acl::kFloat);
  if (made == nullptr)
    fail(ErrorCode::kDevice, "aclCreateScalar gave nothing. CANN says: ", recent_message(device_.rt()));
  scalars_.push_back(made);
  return made;
}

void Call::finish_plan(int status) {
  if (status != 0) executor_ = nullptr;
  device_.check(status, name_, "phase 1");
  repeatable_ = device_.rt().aclSetAclOpExecutorRepeatable(executor_) == 0;
  if (!repeatable_) recent_message(device_.rt());
}

void Call::bind(size_t n, const void* at) {
  Argument& argument = arguments_[n];
  if (argument.at == at) return;
  void* address = const_cast<void*>(at);
  const acl::RuntimeFunctions& rt = device_.rt();
  int status;
  if (argument.list != nullptr)
    status = rt.aclSetDynamicInputTensorAddr(executor_, argument.index, 0, argument.list, address);
  else if (argument.output)
    status = rt.aclSetOutputTensorAddr(executor_, argument.index, argument.tensor, address);
  else
    status = rt.aclSetInputTensorAddr(executor_, argument.index, argument.tensor, address);
  device_.check(status, "aclSet...TensorAddr", name_);
  argument.at = at;
}

void Call::launch(Workspace& workspace, acl::aclrtStream stream) {
  void* work = workspace_ == 0 ? nullptr : workspace.need(workspace_);
  device_.busy();
  const int status = phase2_(work, workspace_, executor_, stream);
  if (!repeatable_ && status == 0) executor_ = nullptr;  // consumed
  device_.check(status, name_);
}

std::vector<const void*> Call::addresses() const {
  std::vector<const void*> list;
  for (const Argument& argument : arguments_) list.push_back(argument.at);
  return list;
}

void Call::rebind(std::span<const void* const> list) {
  for (size_t i = 0; i < list.size(); ++i) bind(i, list[i]);
}

size_t CallCache::Hash::operator()(const Id& id) const {
  uint64_t hash = reinterpret_cast<uintptr_t>(id.op) * 0x9e3779b97f4a7c15u;
  for (int64_t value : id.key) hash = (hash ^ static_cast<uint64_t>(value)) * 0x100000001b3u + (hash >> 29);
  return static_cast<size_t>(hash);
}

void CallCache::trim() {
  if (entries_.size() <= limit_) return;
  std::vector<uint64_t> used;
  for (const auto& [id, entry] : entries_) used.push_back(entry.used);
  const auto middle = used.begin() + static_cast<int64_t>(used.size() / 2);
  std::nth_element(used.begin(), middle, used.end());
  const uint64_t cut = *middle;
  std::erase_if(entries_, [cut](const auto& item) { return item.second.used < cut; });
}

}  // namespace agentinfer
