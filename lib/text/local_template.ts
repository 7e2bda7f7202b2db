/**
 * Chat templates that write every message by itself: what a message adds to a chat depends on its role and its content alone, and the
 * content comes out as it is. Then a chat goes on by putting texts together, however long it is, instead of rendering all of it again.
 *
 * Proven from the syntax tree, not guessed: one loop over `messages` at the top, which sets nothing, looks at nothing but the message's
 * role and whether it is the first (and at the role of the first message), and prints its content only as an operand of `+`. Templates
 * for which this cannot be shown are rendered as a whole, always.
 */

/** The fields of the library's syntax nodes that are looked at here. */
interface Node {
  readonly type: string
  readonly value?: unknown
  readonly body?: readonly Node[]
  readonly alternate?: readonly Node[]
  readonly defaultBlock?: readonly Node[]
  readonly test?: Node
  readonly assignee?: Node
  readonly loopvar?: Node
  readonly iterable?: Node
  readonly left?: Node
  readonly right?: Node
  readonly operator?: { readonly value: string }
  readonly object?: Node
  readonly property?: Node
  readonly computed?: boolean
  readonly callee?: Node
  readonly args?: readonly Node[]
  readonly argument?: Node
}

export function writesEachMessageByItself(program: unknown): boolean {
  const { body = [] } = program as Node
  const at = body.findIndex(({ type }) => type === 'For')
  const loop = body[at]
  if (loop === undefined || !isName(loop.iterable, 'messages') || loop.loopvar?.type !== 'Identifier') return false
  if ((loop.defaultBlock ?? []).length > 0) return false
  const variable = String(loop.loopvar.value)
  const outside = [...body.slice(0, at), ...body.slice(at + 1)]
  return outside.every(outsideFits) && (loop.body ?? []).every((node) => insideFits(node, variable))
}

/** Before and behind the loop: settings and text that depend on nothing but the first message's role and constants. */
function outsideFits(node: Node): boolean {
  if (node.type === 'Set') return node.assignee?.type === 'Identifier' && (node.body ?? []).length === 0 && constant(node.value as Node)
  if (node.type === 'If') return constant(node.test) && [...(node.body ?? []), ...(node.alternate ?? [])].every(outsideFits)
  return node.type === 'Comment' || constant(node)
}

function insideFits(node: Node, variable: string): boolean {
  if (node.type === 'If') {
    const inner = [...(node.body ?? []), ...(node.alternate ?? [])]
    return constant(node.test, variable) && inner.every((one) => insideFits(one, variable))
  }
  if (node.type === 'CallExpression') return isName(node.callee, 'raise_exception') && (node.args ?? []).every((arg) => constant(arg, variable))
  return node.type === 'Comment' || printed(node, variable)
}

/** Text, and the content between texts. */
function printed(node: Node | undefined, variable: string): boolean {
  if (node?.type === 'BinaryExpression' && (node.operator?.value === '+' || node.operator?.value === '~'))
    return printed(node.left, variable) && printed(node.right, variable)
  return isField(node, variable, 'content') || constant(node, variable)
}

/** The same for all messages of a role. */
function constant(node: Node | undefined, variable?: string): boolean {
  if (node === undefined) return false
  if (node.type === 'StringLiteral' || node.type === 'IntegerLiteral' || node.type === 'FloatLiteral') return true
  if (node.type === 'ObjectLiteral') return [...(node.value as ReadonlyMap<Node, Node>)].flat().every((part) => constant(part, variable))
  if (node.type === 'ArrayLiteral' || node.type === 'TupleLiteral') return (node.value as readonly Node[]).every((part) => constant(part, variable))
  if (node.type === 'BinaryExpression') return constant(node.left, variable) && constant(node.right, variable)
  if (node.type === 'UnaryExpression') return constant(node.argument, variable)
  if (node.type === 'Identifier') return ![variable, 'messages', 'loop'].includes(String(node.value))
  if (node.type !== 'MemberExpression') return false
  if (variable !== undefined && (isField(node, variable, 'role') || isField(node, 'loop', 'first'))) return true
  if (isFirstRole(node)) return true
  return constant(node.object, variable) && (node.computed === true ? constant(node.property, variable) : true)
}

/** `messages[0]['role']` */
function isFirstRole(node: Node): boolean {
  const { object } = node
  const first = object?.type === 'MemberExpression' && object.computed === true && isName(object.object, 'messages') && object.property?.value === 0
  return first && object.property?.type === 'IntegerLiteral' && isMember(node, 'role')
}

function isField(node: Node | undefined, name: string, field: string): boolean {
  return node?.type === 'MemberExpression' && isName(node.object, name) && isMember(node, field)
}

function isMember({ property, computed }: Node, field: string): boolean {
  return property?.value === field && property.type === (computed === true ? 'StringLiteral' : 'Identifier')
}

function isName(node: Node | undefined, name: string): boolean {
  return node?.type === 'Identifier' && node.value === name
}
