#pragma once
// Collectives: libhccl.so.
// Written from the public CANN headers' documented signatures; `since` in control/symbols.cc says from which
// release on.

#include "abi/types.h"

extern "C" {

EMU_API HcclResult HcclGetRootInfo(HcclRootInfo* rootInfo);
EMU_API HcclResult HcclCommInitRootInfo(uint32_t nRanks, const HcclRootInfo* rootInfo, uint32_t rank,
                                        HcclComm* comm);
EMU_API HcclResult HcclCommInitRootInfoConfig(uint32_t nRanks, const HcclRootInfo* rootInfo, uint32_t rank,
                                              const HcclCommConfig* config, HcclComm* comm);
EMU_API HcclResult HcclCommInitAll(uint32_t ndev, int32_t* devices, HcclComm* comms);
EMU_API HcclResult HcclCommDestroy(HcclComm comm);
EMU_API HcclResult HcclGetRankSize(HcclComm comm, uint32_t* rankSize);
EMU_API HcclResult HcclGetRankId(HcclComm comm, uint32_t* rank);
EMU_API HcclResult HcclGetCommName(HcclComm comm, char* commName);
EMU_API HcclResult HcclGetCommAsyncError(HcclComm comm, HcclResult* asyncError);
EMU_API const char* HcclGetErrorString(HcclResult code);
EMU_API HcclResult HcclSetConfig(HcclConfig config, HcclConfigValue configValue);
EMU_API HcclResult HcclGetConfig(HcclConfig config, HcclConfigValue* configValue);
EMU_API uint32_t HcclGetCommConfigCapability(void);
EMU_API HcclResult HcclBarrier(HcclComm comm, aclrtStream stream);
EMU_API HcclResult HcclAllReduce(void* sendBuf, void* recvBuf, uint64_t count, HcclDataType dataType,
                                 HcclReduceOp op, HcclComm comm, aclrtStream stream);
EMU_API HcclResult HcclAllGather(void* sendBuf, void* recvBuf, uint64_t sendCount, HcclDataType dataType,
                                 HcclComm comm, aclrtStream stream);
EMU_API HcclResult HcclReduceScatter(void* sendBuf, void* recvBuf, uint64_t recvCount, HcclDataType dataType,
                                     HcclReduceOp op, HcclComm comm, aclrtStream stream);
EMU_API HcclResult HcclBroadcast(void* buf, uint64_t count, HcclDataType dataType, uint32_t root,
                                 HcclComm comm, aclrtStream stream);
EMU_API HcclResult HcclReduce(void* sendBuf, void* recvBuf, uint64_t count, HcclDataType dataType,
                              HcclReduceOp op, uint32_t root, HcclComm comm, aclrtStream stream);
EMU_API HcclResult HcclScatter(void* sendBuf, void* recvBuf, uint64_t recvCount, HcclDataType dataType,
                               uint32_t root, HcclComm comm, aclrtStream stream);
EMU_API HcclResult HcclAlltoAll(const void* sendBuf, uint64_t sendCount, HcclDataType sendType,
                                const void* recvBuf, uint64_t recvCount, HcclDataType recvType, HcclComm comm,
                                aclrtStream stream);
EMU_API HcclResult HcclAlltoAllV(const void* sendBuf, const void* sendCounts, const void* sdispls,
                                 HcclDataType sendType, const void* recvBuf, const void* recvCounts,
                                 const void* rdispls, HcclDataType recvType, HcclComm comm,
                                 aclrtStream stream);
EMU_API HcclResult HcclSend(void* sendBuf, uint64_t count, HcclDataType dataType, uint32_t destRank,
                            HcclComm comm, aclrtStream stream);
EMU_API HcclResult HcclRecv(void* recvBuf, uint64_t count, HcclDataType dataType, uint32_t srcRank,
                            HcclComm comm, aclrtStream stream);

}  // extern "C"
