# Each test is one executable that opens the libraries with dlopen; nothing is linked against them.
set(emulator_tests ops runtime stream memory launch enforce graph fault hccl load touch)
foreach(name ${emulator_tests})
  set(target emulator_${name}_test)
  add_executable(${target} tests/${name}_test.cc)
  target_link_libraries(${target} PRIVATE ascend_emulator_flags)
  target_compile_definitions(${target} PRIVATE EMULATOR_ROOT="${ASCEND_EMULATOR_ROOT}"
                             EMULATOR_FIXTURES="${CMAKE_CURRENT_SOURCE_DIR}/fixtures/fixtures.bin")
  add_dependencies(${target} ascendcl nnopbase opapi hccl)
  add_test(NAME ascend-emulator/${name} COMMAND ${target})
  set_tests_properties(ascend-emulator/${name} PROPERTIES TIMEOUT 120 ENVIRONMENT
                       "ASCEND_COREDUMP_SIGNAL=none;ASAN_OPTIONS=handle_segv=0:detect_leaks=1;TSAN_OPTIONS=halt_on_error=1")
endforeach()
