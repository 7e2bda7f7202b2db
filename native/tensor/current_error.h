#pragma once
// Where exceptions of any kind end: as an Error, which has a code and a message to hand on.

#include "tensor/check.h"

namespace agentinfer {

// What is being thrown right now: an Error as it is, bad_alloc as kOutOfMemory, any other exception as
// kInternal. Call in a catch block. Throws bad_alloc where the message finds no memory.
Error current_error();

}  // namespace agentinfer
