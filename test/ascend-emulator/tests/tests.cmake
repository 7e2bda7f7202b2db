# Each test is one executable that opens the libraries with dlopen; nothing is linked against them.
# Sources are <name>_test.cc and <name>_<part>_test.cc.
foreach(name ${ASCEND_EMULATOR_TESTS})
  set(target emulator_${name}_test)
  file(GLOB sources CONFIGURE_DEPENDS tests/${name}_test.cc tests/${name}_*_test.cc)
  add_executable(${target} ${sources})
  target_link_libraries(${target} PRIVATE ascend_emulator_flags)
  target_compile_definitions(${target} PRIVATE EMULATOR_ROOT="${ASCEND_EMULATOR_ROOT}"
                             EMULATOR_FIXTURES="${CMAKE_CURRENT_SOURCE_DIR}/fixtures/fixtures.bin")
  add_dependencies(${target} ascendcl nnopbase opapi hccl)
  add_test(NAME ascend-emulator/${target} COMMAND ${target})
  set_tests_properties(ascend-emulator/${target} PROPERTIES TIMEOUT 120 ENVIRONMENT
                       "ASCEND_COREDUMP_SIGNAL=none;ASAN_OPTIONS=handle_segv=0:detect_leaks=1;TSAN_OPTIONS=halt_on_error=1")
endforeach()
