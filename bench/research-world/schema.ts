/**
 * What kinds of things the encyclopedia knows, and how they are related. A relation word belongs to one kind, so it tells the
 * kind.
 */
export const kinds = ['person', 'town', 'company', 'river', 'region', 'book'] as const
export type Kind = (typeof kinds)[number]

export interface Relation {
  readonly word: string
  readonly of: Kind
  /** `year`: a number, which ends a chain. */
  readonly to: Kind | 'year'
}

const table: readonly (readonly [Kind, readonly (readonly [string, Kind | 'year'])[]])[] = [
  [
    'person',
    [
      ['birthplace', 'town'],
      ['spouse', 'person'],
      ['teacher', 'person'],
      ['employer', 'company'],
      ['birth', 'year'],
    ],
  ],
  [
    'town',
    [
      ['mayor', 'person'],
      ['bridge', 'river'],
      ['region', 'region'],
      ['twin', 'town'],
      ['charter', 'year'],
    ],
  ],
  [
    'company',
    [
      ['founder', 'person'],
      ['seat', 'town'],
      ['rival', 'company'],
      ['director', 'person'],
      ['opening', 'year'],
    ],
  ],
  [
    'river',
    [
      ['source', 'region'],
      ['mouth', 'town'],
      ['explorer', 'person'],
      ['branch', 'river'],
    ],
  ],
  [
    'region',
    [
      ['capital', 'town'],
      ['governor', 'person'],
      ['neighbour', 'region'],
      ['poet', 'person'],
    ],
  ],
  [
    'book',
    [
      ['author', 'person'],
      ['publisher', 'company'],
      ['hero', 'person'],
      ['setting', 'town'],
    ],
  ],
]

export const relations: readonly Relation[] = table.flatMap(([of, list]) => list.map(([word, to]) => ({ word, of, to })))

export function relationsOf(kind: Kind): readonly Relation[] {
  return relations.filter((relation) => relation.of === kind)
}
