#pragma once
// Graph capture and replay functions (aclmdlRI*) of libascendcl.so.
// Written from the public CANN headers' documented signatures; `since` in control/symbols.cc says from which
// release on.

#include "abi/types.h"

extern "C" {

EMU_API aclError aclmdlRICaptureBegin(aclrtStream stream, aclmdlRICaptureMode mode);
EMU_API aclError aclmdlRICaptureEnd(aclrtStream stream, aclmdlRI* modelRI);
EMU_API aclError aclmdlRICaptureGetInfo(aclrtStream stream, aclmdlRICaptureStatus* status, aclmdlRI* modelRI);
EMU_API aclError aclmdlRICaptureThreadExchangeMode(aclmdlRICaptureMode* mode);
EMU_API aclError aclmdlRIExecuteAsync(aclmdlRI modelRI, aclrtStream stream);
EMU_API aclError aclmdlRIExecute(aclmdlRI modelRI, int32_t timeout);
EMU_API aclError aclmdlRIDestroy(aclmdlRI modelRI);
EMU_API aclError aclmdlRIDebugPrint(aclmdlRI modelRI);
EMU_API aclError aclmdlRIDebugJsonPrint(aclmdlRI modelRI, const char* path, uint32_t flags);
EMU_API aclError aclmdlRICaptureTaskGrpBegin(aclrtStream stream);
EMU_API aclError aclmdlRICaptureTaskGrpEnd(aclrtStream stream, aclrtTaskGrp* handle);
EMU_API aclError aclmdlRICaptureTaskUpdateBegin(aclrtStream stream, aclrtTaskGrp handle);
EMU_API aclError aclmdlRICaptureTaskUpdateEnd(aclrtStream stream);
EMU_API aclError aclmdlRIUpdate(aclmdlRI modelRI);
EMU_API aclError aclmdlRISetName(aclmdlRI modelRI, const char* name);
EMU_API aclError aclmdlRIGetName(aclmdlRI modelRI, uint32_t maxLen, char* name);

}  // extern "C"
