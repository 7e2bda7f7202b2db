# A door for tools that only know node-gyp: CMake decides what is stale, so the declared output never exists.
{
  'targets': [{
    'target_name': 'agentinfer',
    'type': 'none',
    'actions': [{
      'action_name': 'cmake',
      'inputs': [],
      'outputs': ['always-run-cmake'],
      'action': ['node', '<!(node -p "require.resolve(\'cmake-js/bin/cmake-js\')")', 'compile', '--out', 'build/cmake'],
    }],
  }],
}
