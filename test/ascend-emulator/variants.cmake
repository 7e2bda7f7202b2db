# Version files, set_env.sh, and other installations made of the same libraries: each variant is a folder with copies of the
# libraries and an emulator.env that the core library reads.

file(WRITE ${toolkit}/share/info/runtime/version.info "Version=9.1.0\nversion_dir=9.1.0\n")
file(WRITE ${toolkit}/emulator.env "# settings of this installation: NAME=value, the environment wins\n")
configure_file(set_env.sh.in ${toolkit}/set_env.sh @ONLY)

set(emulator_libraries ascend_emulator ascendcl nnopbase opapi hccl)
# emulator_variant(<name> <version> [WITHOUT target...] [SETTINGS NAME=value...])
function(emulator_variant name version)
  cmake_parse_arguments(ARG "" "" "WITHOUT;SETTINGS" ${ARGN})
  set(root ${ASCEND_EMULATOR_ROOT}/${name})
  if(version VERSION_LESS 8.5)
    set(info runtime/version.info)
  else()
    set(info share/info/runtime/version.info)
  endif()
  file(WRITE ${root}/${info} "Version=${version}\nversion_dir=${version}\n")
  list(JOIN ARG_SETTINGS "\n" settings)
  file(WRITE ${root}/emulator.env "${settings}\n")
  set(outputs)
  foreach(target ${emulator_libraries})
    if(NOT target IN_LIST ARG_WITHOUT)
      list(APPEND outputs COMMAND ${CMAKE_COMMAND} -E copy_if_different $<TARGET_FILE:${target}> ${root}/lib64/)
    endif()
  endforeach()
  add_custom_target(variant_${name} ALL COMMAND ${CMAKE_COMMAND} -E make_directory ${root}/lib64 ${outputs} VERBATIM)
  add_dependencies(variant_${name} ${emulator_libraries})
endfunction()

emulator_variant(old-8.1 8.1.RC1)
emulator_variant(release-8.5 8.5.0)
emulator_variant(stub 9.1.0 SETTINGS ASCEND_EMULATOR_STUB=1)
emulator_variant(no-fia-v3 9.1.0 SETTINGS ASCEND_EMULATOR_HIDE=aclnnFusedInferAttentionScoreV3*)
emulator_variant(no-fused 9.1.0 SETTINGS
  "ASCEND_EMULATOR_HIDE=aclnnScatterPaKvCache,aclnnApplyRotaryPosEmb,aclnnSplitWithSize,aclnnSwiGlu,aclnnAddRmsNorm,aclnnApplyTopKTopP,aclnnMatmulWeightNz,aclnnAddmmWeightNz,aclnnQuantMatmulV5,aclnnQuantMatmulWeightNz")
emulator_variant(no-opapi 9.1.0 WITHOUT opapi)
emulator_variant(no-hccl 9.1.0 WITHOUT hccl)
emulator_variant(no-device 9.1.0 SETTINGS ASCEND_EMULATOR_DEVICES=0)

# A toolkit on a host without the driver: libascendcl.so needs libascend_hal.so, which is nowhere.
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/hal.cc "extern \"C\" __attribute__((visibility(\"default\"))) int halGetDeviceCount() { return 0; }\n")
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/no_driver.cc
     "extern \"C\" int halGetDeviceCount();\nextern \"C\" __attribute__((visibility(\"default\"))) int aclInit(const char*) { return halGetDeviceCount(); }\n")
add_library(ascend_emulator_hal SHARED ${CMAKE_CURRENT_BINARY_DIR}/hal.cc)
set_target_properties(ascend_emulator_hal PROPERTIES OUTPUT_NAME ascend_hal LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/hal)
add_library(ascend_emulator_no_driver SHARED ${CMAKE_CURRENT_BINARY_DIR}/no_driver.cc)
target_link_libraries(ascend_emulator_no_driver PRIVATE ascend_emulator_hal)
set_target_properties(ascend_emulator_no_driver PROPERTIES OUTPUT_NAME ascendcl SKIP_BUILD_RPATH ON
                      LIBRARY_OUTPUT_DIRECTORY ${ASCEND_EMULATOR_ROOT}/no-driver/lib64)
