#pragma once
// Our own declarations of what crosses CANN's C ABI: types, enumerators and structs. No CANN header is needed
// to build. Names and values are those of the public headers (acl/acl_base.h, acl/acl_rt.h, aclnn/acl_meta.h,
// hccl/hccl_types.h), the same in CANN 8.1 to 9.2; only what is used here is declared.

#include <cstddef>
#include <cstdint>

namespace agentinfer::acl {

using aclError = int;
using aclnnStatus = int32_t;
using HcclResult = int;
using aclrtStream = void*;
using aclrtEvent = void*;
using aclrtContext = void*;
using aclmdlRI = void*;
using aclrtTaskGrp = void*;
using HcclComm = void*;

struct aclTensor;
struct aclTensorList;
struct aclScalar;
struct aclIntArray;
struct aclOpExecutor;

// Enums are int-sized in the ABI; plain constants keep the call sites free of casts.
using aclDataType = int;
inline constexpr aclDataType kFloat = 0, kInt8 = 2, kInt32 = 3, kUint8 = 4, kInt64 = 9, kBf16 = 27;
using aclFormat = int;
inline constexpr aclFormat kFormatNd = 2, kFormatNz = 29;
using aclrtMemcpyKind = int;
inline constexpr aclrtMemcpyKind kHostToDevice = 1, kDeviceToHost = 2, kDeviceToDevice = 3;
using aclrtMemMallocPolicy = int;
inline constexpr aclrtMemMallocPolicy kHugeFirst = 0;
using aclrtMemAttr = int;
inline constexpr aclrtMemAttr kHbm = 1;
using aclrtFloatOverflowMode = int;
inline constexpr aclrtFloatOverflowMode kInfNan = 1;
using aclmdlRICaptureMode = int;
inline constexpr aclmdlRICaptureMode kCaptureThreadLocal = 1;
using HcclDataType = int;  // numbered unlike aclDataType
inline constexpr HcclDataType kHcclBf16 = 11;
using HcclReduceOp = int;
inline constexpr HcclReduceOp kHcclSum = 0;

inline constexpr uint32_t kEventSync = 0x1;
inline constexpr uint32_t kStreamFastLaunch = 0x1, kStreamFastSync = 0x2;

struct aclCANNPackageVersion {
  char version[128];
  char major_version[64], minor_version[64], release_version[64], patch_version[64];
  char reserved[128];
};
static_assert(sizeof(aclCANNPackageVersion) == 512);
using aclCANNPackageName = int;
inline constexpr aclCANNPackageName kPackageRuntime = 1, kPackageDriver = 7;

// Status codes that change what we do (meanings of the rest: status.cc).
inline constexpr int kRepeatInitialize = 100002, kStubMode = 100039, kOperatorRefused = 161002,
                     kWaitTimeout = 507046, kEventTimeout = 507047, kTilingRefused = 561002;

}  // namespace agentinfer::acl
