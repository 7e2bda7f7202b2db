# The addon: native/binding over the core, in build/<config>/agentinfer.node, where node-gyp-build and prebuildify look.
file(READ ${CMAKE_SOURCE_DIR}/package.json package_json)
string(JSON napi_version GET ${package_json} binary napi_versions 0)

add_library(agentinfer SHARED ${binding_sources} ${CMAKE_JS_SRC})
set_target_properties(agentinfer PROPERTIES PREFIX "" SUFFIX ".node"
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_SOURCE_DIR}/build/$<CONFIG>)
target_include_directories(agentinfer SYSTEM PRIVATE ${CMAKE_JS_INC} ${CMAKE_SOURCE_DIR}/node_modules/node-addon-api)
target_compile_definitions(agentinfer PRIVATE NAPI_VERSION=${napi_version} NAPI_CPP_EXCEPTIONS
                           NODE_ADDON_API_DISABLE_DEPRECATED NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS)
target_link_libraries(agentinfer PRIVATE core ${CMAKE_JS_LIB})
if(APPLE)
  target_link_options(agentinfer PRIVATE -undefined dynamic_lookup)
elseif(NOT AGENTINFER_SANITIZE)
  # One binary for hosts with an older C++ library; only the module's entry points are visible.
  target_link_options(agentinfer PRIVATE -static-libstdc++ -Wl,--exclude-libs,ALL -Wl,--gc-sections)
endif()
