# The addon: native/binding over the core, in build/<config>/agentinfer.node, where node-gyp-build and prebuildify look.
set(AGENTINFER_ADDON_DIR ${CMAKE_SOURCE_DIR}/build CACHE PATH "The addon is written to <this>/<config>")
file(READ ${CMAKE_SOURCE_DIR}/package.json package_json)
string(JSON napi_version GET ${package_json} binary napi_versions 0)

add_library(agentinfer MODULE ${binding_sources} ${CMAKE_JS_SRC})
set_target_properties(agentinfer PROPERTIES PREFIX "" SUFFIX ".node"
                      LIBRARY_OUTPUT_DIRECTORY ${AGENTINFER_ADDON_DIR}/$<CONFIG>)
target_include_directories(agentinfer SYSTEM PRIVATE ${CMAKE_JS_INC} ${CMAKE_SOURCE_DIR}/node_modules/node-addon-api)
target_compile_definitions(agentinfer PRIVATE NAPI_VERSION=${napi_version} NAPI_CPP_EXCEPTIONS
                           NODE_ADDON_API_DISABLE_DEPRECATED NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS)
target_link_libraries(agentinfer PRIVATE core ${CMAKE_JS_LIB})
if(APPLE)
  target_link_options(agentinfer PRIVATE -undefined dynamic_lookup)
elseif(NOT AGENTINFER_SANITIZE)
  # One binary for hosts with an older C++ library, with only the module's entry points visible: Node carries a C++ library of its own,
  # and neither may take symbols of the other. libgcc_s stays shared: linking it statically would ask for a newer glibc.
  set(exports ${CMAKE_SOURCE_DIR}/native/binding/exports.map)
  target_link_options(agentinfer PRIVATE -static-libstdc++ -Wl,--version-script=${exports} -Wl,--exclude-libs,ALL
                      -Wl,--gc-sections)
  set_target_properties(agentinfer PROPERTIES LINK_DEPENDS ${exports})
endif()
