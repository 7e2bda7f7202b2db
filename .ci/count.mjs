// Prints "<passed> <failed>" for a test report: ctest's JUnit file, counting the cases each executable reports, or vitest's JSON.
import { readFileSync } from 'node:fs'

const text = readFileSync(process.argv[2], 'utf8')

function countVitest({ numPassedTests, numFailedTests, testResults }) {
  // A file that could not be loaded has no tests of its own.
  const broken = testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0).length
  return [numPassedTests, numFailedTests + broken]
}

function countCtest(xml) {
  let passed = 0
  let failed = 0
  for (const [, attributes, body] of xml.matchAll(/<testcase\b([^>]*?)>([\s\S]*?)<\/testcase>/g)) {
    const [, cases = 1, bad = 0] = (/^(\d+) tests, (\d+) failed$/m.exec(body) ?? []).map(Number)
    const succeeded = /status="run"/.test(attributes)
    // One that ended badly without saying what failed (a crash, a sanitizer's report) is one failure.
    passed += succeeded || bad > 0 ? cases - bad : 0
    failed += succeeded ? bad : Math.max(1, bad)
  }
  return [passed, failed]
}

const [passed, failed] = text.startsWith('{') ? countVitest(JSON.parse(text)) : countCtest(text)
console.log(passed, failed)
