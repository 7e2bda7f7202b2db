#include <cstring>
#include <string>

#include "control/config.h"

namespace emu {
namespace {

// Symbols that came after 8.1.RC1, with the first release known to have them.
struct Since {
  const char* symbol;
  const char* version;
};
constexpr Since kSince[] = {
    {"aclFinalizeReference", "8.5.0"},
    {"aclmdlRIDebugJsonPrint", "8.5.0"},
    {"aclmdlRIExecute", "8.5.0"},
    {"aclmdlRIGetName", "8.5.0"},
    {"aclmdlRISetName", "8.5.0"},
    {"aclmdlRIUpdate", "9.1.0"},
    {"aclnnAddmmWeightNz", "8.5.0"},
    {"aclnnAddmmWeightNzGetWorkspaceSize", "8.5.0"},
    {"aclnnApplyRotaryPosEmbV2", "8.5.0"},
    {"aclnnApplyRotaryPosEmbV2GetWorkspaceSize", "8.5.0"},
    {"aclnnApplyTopKTopP", "8.5.0"},
    {"aclnnApplyTopKTopPGetWorkspaceSize", "8.5.0"},
    {"aclnnFusedInferAttentionScoreV4", "8.5.0"},
    {"aclnnFusedInferAttentionScoreV4GetMaxWorkspaceSize", "8.5.0"},
    {"aclnnFusedInferAttentionScoreV4GetWorkspaceSize", "8.5.0"},
    {"aclnnGatherPaKvCache", "8.5.0"},
    {"aclnnGatherPaKvCacheGetWorkspaceSize", "8.5.0"},
    {"aclnnInplaceAddRmsNorm", "8.5.0"},
    {"aclnnInplaceAddRmsNormGetWorkspaceSize", "8.5.0"},
    {"aclnnMatmulWeightNz", "8.5.0"},
    {"aclnnMatmulWeightNzGetWorkspaceSize", "8.5.0"},
    {"aclnnNpuFormatCast", "8.5.0"},
    {"aclnnNpuFormatCastCalculateSizeAndFormat", "8.5.0"},
    {"aclnnNpuFormatCastGetWorkspaceSize", "8.5.0"},
    {"aclnnQuantMatmulV5", "8.5.0"},
    {"aclnnQuantMatmulV5GetWorkspaceSize", "8.5.0"},
    {"aclnnScatterPaKvCache", "8.5.0"},
    {"aclnnScatterPaKvCacheGetWorkspaceSize", "8.5.0"},
    {"aclrtCtxGetCurrentDefaultStream", "8.5.0"},
    {"aclrtDeviceGetUuid", "8.5.0"},
    {"aclrtDevicePeerAccessStatus", "8.5.0"},
    {"aclrtFreeHostWithDevSync", "8.5.0"},
    {"aclrtFreeWithDevSync", "8.5.0"},
    {"aclrtGetDeviceInfo", "8.5.0"},
    {"aclrtGetErrorVerbose", "8.5.0"},
    {"aclrtGetEventAvailNum", "8.5.0"},
    {"aclrtGetLogicDevIdByUserDevId", "8.5.0"},
    {"aclrtGetPhyDevIdByLogicDevId", "8.5.0"},
    {"aclrtGetPhyDevIdByUserDevId", "9.1.0"},
    {"aclrtGetPrimaryCtxState", "8.5.0"},
    {"aclrtGetStreamAvailableNum", "8.5.0"},
    {"aclrtHostRegisterV2", "8.5.0"},
    {"aclrtLaunchHostFunc", "8.5.0"},
    {"aclrtMemGetAccess", "8.5.0"},
    {"aclrtMemRetainAllocationHandle", "8.5.0"},
    {"aclrtMemSetAccess", "8.5.0"},
    {"aclrtMemcpyBatch", "8.3.RC1"},
    {"aclrtMemcpyBatchAsync", "8.3.RC1"},
    {"aclrtSetDeviceResLimit", "8.3.RC1"},
    {"aclrtSetStreamAttribute", "8.5.0"},
    {"aclrtSetStreamResLimit", "8.3.RC1"},
    {"aclrtStreamWaitEventWithTimeout", "8.5.0"},
    {"aclsysGetVersionNum", "8.5.0"},
    {"aclsysGetVersionStr", "8.5.0"},
};

bool matches(const std::string& pattern, const char* name) {
  if (!pattern.empty() && pattern.back() == '*')
    return std::strncmp(pattern.c_str(), name, pattern.size() - 1) == 0;
  return pattern == name || pattern + "GetWorkspaceSize" == name;
}

}  // namespace

bool symbol_hidden(const char* name) {
  const Config& c = config();
  for (const std::string& pattern : c.hidden)
    if (matches(pattern, name)) return true;
  for (const Since& entry : kSince)
    if (std::strcmp(entry.symbol, name) == 0) return compare_versions(c.version, entry.version) < 0;
  return false;
}

}  // namespace emu
