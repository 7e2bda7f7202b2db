# Each instruction set's kernels are compiled with their own flags; dispatch.cc picks at run time. Files of another processor
# stay in the source list but are not compiled.
set(cpu ${CMAKE_SOURCE_DIR}/native/backend/cpu)
set(x86_kernels ${cpu}/kernels_avx2.cc ${cpu}/kernels_avx512.cc ${cpu}/kernels_avx512_vnni.cc)
set(arm_kernels ${cpu}/kernels_neon.cc ${cpu}/kernels_neon_dotprod.cc)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set_source_files_properties(${cpu}/kernels_avx2.cc PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
  set(avx512_flags -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC's own header sets don't-care lanes from themselves and warns about it.
    list(APPEND avx512_flags -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()
  set_source_files_properties(${cpu}/kernels_avx512.cc PROPERTIES COMPILE_OPTIONS "${avx512_flags}")
  set_source_files_properties(${cpu}/kernels_avx512_vnni.cc PROPERTIES COMPILE_OPTIONS "${avx512_flags};-mavx512vnni")
else()
  set_source_files_properties(${x86_kernels} PROPERTIES HEADER_FILE_ONLY TRUE)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  set_source_files_properties(${cpu}/kernels_neon_dotprod.cc PROPERTIES COMPILE_OPTIONS "-march=armv8.2-a+dotprod")
else()
  set_source_files_properties(${arm_kernels} PROPERTIES HEADER_FILE_ONLY TRUE)
endif()

# Unrolled tiles under sanitizers take GCC long to compile: without the checks that repeat what the address sanitizer sees anyway.
if(AGENTINFER_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set_property(SOURCE ${cpu}/kernels_portable.cc ${x86_kernels} ${arm_kernels} APPEND PROPERTY COMPILE_OPTIONS
               -fno-sanitize=null,alignment,pointer-overflow)
endif()
