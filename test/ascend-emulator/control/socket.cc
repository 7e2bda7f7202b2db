// A socket on which another process (or the JavaScript of this one) can give commands while the engine runs:
// one command per line, one line of JSON back. Opened when ASCEND_EMULATOR_SOCKET names a path.

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "control.h"
#include "control/config.h"

namespace emu {
namespace {

std::string answer_to(const std::string& line) {
  std::vector<char> answer(size_t{1} << 20);
  emu_command(line.c_str(), answer.data(), answer.size());
  return std::string(answer.data()) + "\n";
}

void serve(int connection) {
  std::string pending;
  char chunk[4096];
  for (ssize_t n; (n = read(connection, chunk, sizeof(chunk))) > 0;) {
    pending.append(chunk, static_cast<size_t>(n));
    for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
      const std::string answer = answer_to(pending.substr(0, end));
      if (send(connection, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) break;
    }
  }
  close(connection);
}

__attribute__((constructor)) void listen_if_asked() {
  const std::string& path = config().socket_path;
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof(address.sun_path)) return;
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  unlink(path.c_str());
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener, 8) != 0) {
    std::fprintf(stderr, "ascend-emulator: cannot listen on %s\n", path.c_str());
    close(listener);
    return;
  }
  std::thread([listener] {
    for (int connection; (connection = accept(listener, nullptr, nullptr)) >= 0;)
      std::thread(serve, connection).detach();
  }).detach();
}

}  // namespace
}  // namespace emu
