// An independent judge of IAM policies: one question a line on stdin, one answer a line on stdout, in the same order.
// Run as `node decide.mjs FOLDER`, where FOLDER holds node_modules with @cloud-copilot/iam-simulate.
//
// A question: {"action", "resource", "account", "principal", "policies": [...], "trust": {...} | null,
// "context": {...}}. An answer: {"decision": "Allowed" | "ImplicitlyDenied" | "ExplicitlyDenied"} or {"error": ...}.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { join } from 'node:path'

const require = createRequire(join(process.argv[2], 'package.json'))
const { runSimulation } = require('@cloud-copilot/iam-simulate')

async function decide(question) {
  const result = await runSimulation(
    {
      request: {
        principal: question.principal,
        action: question.action,
        resource: { resource: question.resource, accountId: question.account },
        contextVariables: question.context
      },
      identityPolicies: question.policies.map((policy, number) => ({ name: `policy-${number}`, policy })),
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy: question.trust ?? undefined
    },
    {}
  )
  if (result.resultType === 'error') return { error: result.errors }
  // A key that the engine leaves out is a question that was not asked: better no answer than a wrong one.
  const ignored = (result.result ?? result.results?.[0])?.ignoredContextKeys ?? []
  if (ignored.length > 0) return { error: `it ignores the context keys ${ignored.join(', ')}` }
  return { decision: result.overallResult }
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    answer = await decide(JSON.parse(line))
  } catch (error) {
    answer = { error: String(error?.stack ?? error) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
