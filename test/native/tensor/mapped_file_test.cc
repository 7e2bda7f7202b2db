#include "tensor/mapped_file.h"

#include <sys/stat.h>

#include "check.h"
#include "temp_folder.h"

namespace agentinfer {
namespace {

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST("the mapped bytes are the file's, before and after a release and a move") {
  const check::TempFolder folder;
  std::string content(100000, ' ');
  std::mt19937 random(3);
  for (char& c : content) c = static_cast<char>(random());
  MappedFile first(folder.write("data", content));
  CHECK(text_of(first.bytes()) == content);
  first.release(first.bytes().subspan(1, 99998));
  first.release({});
  CHECK(text_of(first.bytes()) == content);
  const std::byte* const address = first.bytes().data();
  MappedFile second(std::move(first));
  CHECK_EQ(first.size(), 0u);
  CHECK(second.bytes().data() == address);
  MappedFile third(folder.write("other", "x"));
  third = std::move(second);
  CHECK(text_of(third.bytes()) == content);
  CHECK_EQ(third.path().filename(), "data");
}

TEST("whatever is not a readable, filled, regular file is refused with its path") {
  const check::TempFolder folder;
  CHECK_THROWS(MappedFile(folder / "absent"), ErrorCode::kIo, "absent: cannot open: No such file");
  CHECK_THROWS(MappedFile(folder.path()), ErrorCode::kIo, "expected a regular file");
  CHECK_THROWS(MappedFile(folder.write("void", "")), ErrorCode::kIo, "void: the file is empty");
  ::mkfifo((folder / "pipe").c_str(), 0600);
  CHECK_THROWS(MappedFile(folder / "pipe"), ErrorCode::kIo, "pipe: expected a regular file");
}

}  // namespace
}  // namespace agentinfer

CHECK_MAIN
