# A door for tools that only know node-gyp: CMake decides what is stale, so the declared output never exists.
{
  'targets': [{
    'target_name': 'agentinfer',
    'type': 'none',
    'actions': [{
      'action_name': 'cmake',
      'inputs': [],
      'outputs': ['always-run-cmake'],
      'action': ['node', 'native/build/addon.mjs'],
    }],
  }],
}
