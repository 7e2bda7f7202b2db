#include "tensor/control_groups.h"

#include "check.h"
#include "temp_folder.h"

using namespace agentinfer;

TEST("a process is in its control group and in all that hold it") {
  const check::TempFolder folder;
  folder.write("cgroup", "12:cpu:/old\n0::/system.slice/engine.service\n");
  const auto groups = control_groups("/mount", folder / "cgroup");
  CHECK_EQ(groups.size(), 3u);
  CHECK(groups[0] == "/mount" && groups[1] == "/mount/system.slice" &&
        groups[2] == "/mount/system.slice/engine.service");
}

TEST("a container sees its own group alone, and so does a system without any") {
  const check::TempFolder folder;
  folder.write("cgroup", "0::/\n");
  CHECK_EQ(control_groups("/mount", folder / "cgroup").size(), 1u);
  CHECK_EQ(control_groups("/mount", folder / "absent").size(), 1u);
}

CHECK_MAIN
