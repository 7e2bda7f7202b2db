// What a control group has left, from folders with the files that the kernel would show.

#include "engine/host_memory.h"

#include "check.h"
#include "temp_folder.h"

using namespace agentinfer;

TEST("file pages of a control group count as free, its other use does not") {
  const check::TempFolder folder;
  folder.write("memory.max", "1000\n");
  folder.write("memory.current", "900\n");
  CHECK(available_in_group(folder.path()) == 100u);
  folder.write("memory.stat", "anon 200\nfile 700\ninactive_file 450\nactive_file 250\nslab 9\n");
  CHECK(available_in_group(folder.path()) == 800u);
}

TEST("a full control group has nothing left; one without a limit says nothing") {
  const check::TempFolder folder;
  folder.write("memory.max", "1000\n");
  folder.write("memory.current", "1001\n");
  CHECK(available_in_group(folder.path()) == 0u);
  folder.write("memory.max", "max\n");
  CHECK(!available_in_group(folder.path()));
  CHECK(!available_in_group(folder / "absent"));
}

TEST("the memory of this machine is known") {
  CHECK(available_host_memory() > 0);
}

CHECK_MAIN
