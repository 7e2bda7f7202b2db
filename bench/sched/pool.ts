/**
 * KV blocks of a simulated engine: the rules of native/kv (prefix tree over block contents, leaves go first, retention by owner, host tier,
 * partial tails) without bytes. A block's content is a number; equal prefixes have equal numbers, and a number always has the same parent.
 */

/** Contents of a token list's full blocks; the unfinished last block is known by `tail`, the content it will have when full. */
export interface Content {
  readonly blocks: readonly number[]
  readonly tail: number
  /** Blocks at the start that other contents may have too; from there on a block is in no other. */
  readonly shared: number
}

const enum State {
  gone,
  device,
  host,
}

interface Node {
  readonly content: number
  readonly parent: Node | undefined
  /** Valid tokens of an unfinished block; blockSize if it is full. */
  readonly valid: number
  state: State
  refs: number
  deviceChildren: number
  hostChildren: number
  used: number
  /** Sessions whose tip this is. */
  owners: Owner[]
  /** On the host: the strongest owner when it moved. */
  hostOwner: Owner | undefined
}

interface Owner {
  readonly id: number
  retentionClass: number
  expiresAt: number
  tip: Node | undefined
}

export interface Match {
  /** Full blocks on the device, then on the host. */
  readonly device: number
  readonly pinned: number
  readonly host: number
  /** Tokens of an unfinished block that continue the match. */
  readonly partial: number
}

/** When an owner's KV is wanted next, for the offline bound; Infinity: never. */
export type NextUse = (owner: number) => number

export class SimPool {
  readonly total: number
  readonly blockSize: number
  readonly hostTotal: number
  hostFree: number
  free: number
  cached = 0
  evicted = 0
  /** Changes whenever a match may. */
  version = 0
  /** Blocks copied to or from the host since construction. */
  copied = 0
  /** Given: eviction knows the future. */
  nextUse: NextUse | undefined
  readonly #nodes = new Map<number, Node>()
  /** Unfinished last blocks, by the content they would have when full. */
  readonly #partials = new Map<number, Node>()
  readonly #leaves = new Set<Node>()
  readonly #hostLeaves = new Set<Node>()
  readonly #owners = new Map<number, Owner>()
  #tick = 0

  constructor(total: number, blockSize: number, hostTotal: number) {
    this.total = total
    this.free = total
    this.blockSize = blockSize
    this.hostTotal = hostTotal
    this.hostFree = hostTotal
  }

  get used(): number {
    return this.total - this.free - this.cached
  }

  // ---- looking

  /**
   * Of the first `tokens` tokens. Device blocks come first along a chain, then host blocks, so the borders are found by halving; `last`: what
   * was found before, which is looked at first.
   */
  match({ blocks, tail }: Content, tokens: number, last?: Match): Match {
    const full = Math.min(blocks.length, Math.floor(tokens / this.blockSize))
    const border = (guess: number | undefined, holds: (node: Node) => boolean): number => {
      const at = (index: number): boolean => {
        const node = this.#nodes.get(blocks[index]!)
        return node !== undefined && holds(node)
      }
      if (guess !== undefined && guess <= full && (guess === 0 || at(guess - 1)) && (guess === full || !at(guess))) return guess
      let low = 0
      let high = full
      while (low < high) {
        const middle = (low + high) >> 1
        if (at(middle)) low = middle + 1
        else high = middle
      }
      return low
    }
    const device = border(last?.device, (node) => node.state === State.device)
    const pinned = border(last?.pinned, (node) => node.state === State.device && node.refs > 0)
    const present = this.hostTotal === 0 ? device : border(last === undefined ? undefined : last.device + last.host, (node) => node.state !== State.gone)
    const next = this.#partials.get(present < blocks.length ? blocks[present]! : tail)
    const partial = next === undefined || next.state !== State.device ? 0 : Math.min(next.valid, tokens - present * this.blockSize)
    return { device, pinned, host: present - device, partial: Math.max(0, partial) }
  }

  /** Where a chain stops being indexed: requests that lack the same next block get the same number. */
  group({ blocks, tail }: Content, match: Match): number {
    const next = match.device + match.host
    return next < blocks.length ? blocks[next]! : tail
  }

  /** The union over several lists, each block once. */
  demand(lists: readonly { content: Content; tokens: number; match: Match }[]): { pinned: number; evictable: number; host: number; fresh: number } {
    const seen = new Set<number>()
    const union = { pinned: 0, evictable: 0, host: 0, fresh: 0 }
    for (const { content, tokens, match } of lists) {
      const full = Math.min(content.blocks.length, Math.floor(tokens / this.blockSize))
      const shared = Math.min(full, content.shared)
      const present = match.device + match.host
      const alone = (from: number, to: number): number => Math.max(0, Math.min(to, full) - Math.max(from, shared))
      union.pinned += alone(0, match.pinned)
      union.evictable += alone(match.pinned, match.device)
      union.host += alone(match.device, present)
      union.fresh += alone(present, full)
      // From the end: once a block was seen, all before it were.
      for (let i = shared - 1; i >= 0; --i) {
        const id = content.blocks[i]!
        if (seen.has(id)) break
        seen.add(id)
        if (i < match.pinned) union.pinned += 1
        else if (i < match.device) union.evictable += 1
        else if (i < present) union.host += 1
        else union.fresh += 1
      }
      if (full * this.blockSize < tokens) union.fresh += 1
    }
    return union
  }

  // ---- taking

  /** Pins the first `count` blocks of a chain, which must be on the device. */
  pin(blocks: readonly number[], count: number): void {
    this.version += 1
    const tick = ++this.#tick
    for (let i = 0; i < count; ++i) {
      const node = this.#nodes.get(blocks[i]!)!
      if (node.refs++ === 0) {
        this.cached -= 1
        this.#leaves.delete(node)
      }
      node.used = tick
    }
  }

  unpin(blocks: readonly number[], count: number): void {
    this.version += 1
    const tick = ++this.#tick
    for (let i = count - 1; i >= 0; --i) {
      const node = this.#nodes.get(blocks[i]!)!
      node.used = tick
      if (--node.refs > 0) continue
      this.cached += 1
      this.#requeue(node)
    }
  }

  /** Makes the blocks free, evicting what goes first; false: nothing was taken. */
  take(count: number, now: number): boolean {
    if (this.free + this.cached < count) return false
    while (this.free < count) this.#evictOne(now)
    this.free -= count
    return true
  }

  give(count: number): void {
    this.free += count
  }

  /** Keeps host blocks [from, to) of a chain from being dropped until `fromHost` or `letHost`. */
  holdHost(blocks: readonly number[], from: number, to: number): void {
    for (let i = from; i < to; ++i) {
      const node = this.#nodes.get(blocks[i]!)!
      node.refs = 1
      this.#hostLeaves.delete(node)
    }
  }

  letHost(blocks: readonly number[], from: number, to: number): void {
    for (let i = to - 1; i >= from; --i) {
      const node = this.#nodes.get(blocks[i]!)!
      node.refs = 0
      this.#requeueHost(node)
    }
  }

  /** Brings held host blocks [from, to) of a chain back and pins them. The caller has taken as many blocks. */
  fromHost(blocks: readonly number[], from: number, to: number): void {
    this.version += 1
    for (let i = from; i < to; ++i) {
      const node = this.#nodes.get(blocks[i]!)!
      this.#leaveHost(node)
      node.state = State.device
      node.refs = 1
      node.used = this.#tick
      if (node.parent !== undefined) node.parent.deviceChildren += 1
      this.copied += 1
    }
  }

  /** Uses a partial block by copy. */
  touchPartial(content: number): void {
    const node = this.#partials.get(content)
    if (node !== undefined) node.used = ++this.#tick
  }

  /**
   * A sequence computed the content of its own block number `index`: it is indexed, pinned by the sequence. Returns false when another
   * published it first (the caller's own block is given back).
   */
  publish(blocks: readonly number[], index: number, owner: number | undefined): boolean {
    const content = blocks[index]!
    const parent = index > 0 ? this.#nodes.get(blocks[index - 1]!) : undefined
    let node = this.#nodes.get(content)
    let fresh = true
    if (node === undefined || node.state === State.gone) {
      node = { content, parent, valid: this.blockSize, state: State.device, refs: 1, deviceChildren: 0, hostChildren: 0, used: ++this.#tick, owners: [], hostOwner: undefined }
      this.#nodes.set(content, node)
      this.#enter(node)
    } else if (node.state === State.host) {
      this.#leaveHost(node)
      node.state = State.device
      node.refs = 1
      this.version += 1
      if (parent !== undefined) parent.deviceChildren += 1
    } else {
      fresh = false
      this.give(1)
      this.pin(blocks.slice(index, index + 1), 1)
    }
    const partial = this.#partials.get(content)
    if (partial !== undefined && partial.refs === 0) this.#drop(partial)
    if (owner !== undefined) this.#setTip(owner, node)
    return fresh
  }

  /** The unfinished last block of a sequence that ends: cached. The caller's block becomes the pool's, or is given back. */
  publishTail(blocks: readonly number[], full: number, content: number, valid: number, owner: number | undefined): void {
    const old = this.#partials.get(content)
    if (this.#nodes.get(content)?.state === State.device || (old !== undefined && old.valid >= valid)) return this.give(1)
    if (old !== undefined) this.#drop(old)
    const parent = full > 0 ? this.#nodes.get(blocks[full - 1]!) : undefined
    const node: Node = { content, parent, valid, state: State.device, refs: 0, deviceChildren: 0, hostChildren: 0, used: ++this.#tick, owners: [], hostOwner: undefined }
    this.#partials.set(content, node)
    this.#enter(node)
    this.cached += 1
    if (owner !== undefined) this.#setTip(owner, node)
    this.#requeue(node)
  }

  // ---- owners

  retain(owner: number, retentionClass: number, expiresAt: number): void {
    const entry = this.#owner(owner)
    entry.retentionClass = retentionClass
    entry.expiresAt = expiresAt
  }

  forget(owner: number): void {
    const entry = this.#owners.get(owner)
    if (entry?.tip !== undefined) entry.tip.owners = entry.tip.owners.filter((other) => other !== entry)
    this.#owners.delete(owner)
  }

  /** Brings back what the host tier holds of a chain, into free blocks only. Returns the blocks copied. */
  prefetch(owner: number, blocks: readonly number[], limit: number): number {
    let count = 0
    for (const content of blocks) {
      const node = this.#nodes.get(content)
      if (node === undefined) break
      if (node.state === State.device) continue
      if (node.state !== State.host || count === limit || this.free === 0) break
      this.#leaveHost(node)
      node.state = State.device
      node.used = ++this.#tick
      this.free -= 1
      this.cached += 1
      this.#enter(node)
      this.#requeue(node)
      this.copied += 1
      count += 1
      this.#setTip(owner, node)
    }
    return count
  }

  /** Throws unless every block is in one place and the queues hold what they should. */
  check(privateBlocks: number): void {
    let device = 0
    let cached = 0
    let host = 0
    for (const node of [...this.#nodes.values(), ...this.#partials.values()]) {
      if (node.state === State.device) {
        device += 1
        if (node.refs === 0) cached += 1
        if (node.parent !== undefined && node.parent.state !== State.device) throw new Error(`block ${node.content} outlived its parent`)
        if (node.refs > 0 && node.parent !== undefined && node.parent.refs === 0) throw new Error(`block ${node.content} is pinned, its parent is not`)
      } else if (node.state === State.host) host += 1
      const leaf = node.state === State.device && node.refs === 0 && node.deviceChildren === 0
      if (leaf !== this.#leaves.has(node)) throw new Error(`block ${node.content}: queue`)
    }
    if (device + this.free + privateBlocks !== this.total) throw new Error(`${device} indexed + ${this.free} free + ${privateBlocks} private != ${this.total}`)
    if (cached !== this.cached) throw new Error(`cached ${this.cached}, found ${cached}`)
    if (host + this.hostFree !== this.hostTotal) throw new Error(`${host} on the host + ${this.hostFree} free != ${this.hostTotal}`)
  }

  // ---- inside

  #owner(id: number): Owner {
    let owner = this.#owners.get(id)
    if (owner === undefined) this.#owners.set(id, (owner = { id, retentionClass: 0, expiresAt: 0, tip: undefined }))
    return owner
  }

  #setTip(id: number, node: Node): void {
    const owner = this.#owner(id)
    if (owner.tip === node) return
    if (owner.tip !== undefined) owner.tip.owners = owner.tip.owners.filter((other) => other !== owner)
    owner.tip = node
    node.owners.push(owner)
  }

  #enter(node: Node): void {
    this.version += 1
    if (node.parent === undefined) return
    node.parent.deviceChildren += 1
    this.#leaves.delete(node.parent)
  }

  #requeue(node: Node): void {
    if (node.state === State.device && node.refs === 0 && node.deviceChildren === 0) this.#leaves.add(node)
    else this.#leaves.delete(node)
  }

  #before(a: Node, b: Node, now: number): boolean {
    if (this.nextUse !== undefined) {
      const next = (node: Node): number => node.owners.reduce((least, owner) => Math.min(least, this.nextUse!(owner.id)), Infinity)
      const aNext = next(a)
      const bNext = next(b)
      if (aNext !== bNext) return aNext > bNext
    } else {
      const [aClass, aExpired] = strongest(a, now)
      const [bClass, bExpired] = strongest(b, now)
      if (aClass !== bClass) return aClass < bClass
      if (aExpired !== bExpired) return aExpired
    }
    return a.used !== b.used ? a.used < b.used : a.content < b.content
  }

  #first(nodes: ReadonlySet<Node>, now: number): Node | undefined {
    let best: Node | undefined
    for (const node of nodes) if (best === undefined || this.#before(node, best, now)) best = node
    return best
  }

  #evictOne(now: number): void {
    const node = this.#first(this.#leaves, now)!
    const [retentionClass] = strongest(node, now)
    this.evicted += 1
    if (this.hostTotal > 0 && retentionClass > 0 && node.valid === this.blockSize && this.#toHost(node, now)) return
    this.#drop(node)
  }

  #toHost(node: Node, now: number): boolean {
    if (this.hostFree === 0) {
      const victim = this.#first(this.#hostLeaves, now)
      if (victim === undefined || this.#before(node, victim, now)) return false
      this.#drop(victim)
    }
    node.hostOwner = node.owners.reduce<Owner | undefined>((best, owner) => (best === undefined || stronger(owner, best) ? owner : best), undefined)
    this.#moveOwnersUp(node)
    this.#leaveDevice(node)
    node.state = State.host
    this.hostFree -= 1
    this.copied += 1
    if (node.parent !== undefined) {
      node.parent.hostChildren += 1
      this.#hostLeaves.delete(node.parent)
    }
    this.#requeueHost(node)
    return true
  }

  #leaveDevice(node: Node): void {
    this.version += 1
    this.#leaves.delete(node)
    this.cached -= 1
    this.free += 1
    if (node.parent === undefined) return
    node.parent.deviceChildren -= 1
    this.#requeue(node.parent)
  }

  #leaveHost(node: Node): void {
    this.hostFree += 1
    this.#hostLeaves.delete(node)
    const { parent } = node
    if (parent === undefined) return
    parent.hostChildren -= 1
    this.#requeueHost(parent)
  }

  #requeueHost(node: Node): void {
    if (node.state === State.host && node.hostChildren === 0 && node.refs === 0) this.#hostLeaves.add(node)
  }

  /** With everything below it, which is not on the device. */
  #drop(node: Node): void {
    this.version += 1
    const { parent } = node
    this.#moveOwnersUp(node)
    if (node.hostChildren > 0) this.#dropBelow(node)
    if (node.state === State.device) this.#leaveDevice(node)
    else this.#leaveHost(node)
    node.state = State.gone
    if (node.valid < this.blockSize) this.#partials.delete(node.content)
    else this.#nodes.delete(node.content)
    if (parent !== undefined) this.#requeueHost(parent)
  }

  #moveOwnersUp(node: Node): void {
    for (const owner of node.owners) {
      owner.tip = node.parent
      node.parent?.owners.push(owner)
    }
    node.owners = []
  }

  #dropBelow(node: Node): void {
    for (const leaf of this.#hostLeaves) {
      let above = leaf.parent
      while (above !== undefined && above !== node) above = above.parent
      if (above !== node) continue
      let at: Node = leaf
      while (at !== node) {
        const { parent } = at
        if (at.hostChildren > 0) break
        this.#drop(at)
        at = parent!
      }
    }
  }
}

function stronger(a: Owner, b: Owner): boolean {
  return a.retentionClass > b.retentionClass || (a.retentionClass === b.retentionClass && a.expiresAt > b.expiresAt)
}

/** Class, and whether it has expired, of the strongest owner. */
function strongest(node: Node, now: number): [number, boolean] {
  let retentionClass = 0
  let expiresAt = 0
  for (const owner of node.state === State.host && node.hostOwner !== undefined ? [node.hostOwner] : node.owners)
    if (owner.retentionClass > retentionClass || (owner.retentionClass === retentionClass && owner.expiresAt > expiresAt))
      [retentionClass, expiresAt] = [owner.retentionClass, owner.expiresAt]
  return [retentionClass, expiresAt <= now]
}
