#pragma once
// Initialisation state of the process (aclInit, aclFinalize, aclnnInit).

#include <cstdint>
#include <string>

namespace emu {

bool runtime_started();  // ever initialised: a forked child cannot go on using it
bool runtime_initialised();
void initialise(const std::string& json);  // refuses on a second call, as aclInit does
void initialise_operators();               // aclnnInit
void finalise();
uint64_t drop_reference();  // aclFinalizeReference; the new count

}  // namespace emu
