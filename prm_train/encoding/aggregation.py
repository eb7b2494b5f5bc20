"""One score for a whole path from the scores of its steps: `data_gen.records.aggregation`, under the name by
which this package asks for it.
"""

from data_gen.records.aggregation import Aggregation as Aggregation
from data_gen.records.aggregation import aggregate as aggregate
from data_gen.records.aggregation import log_score as log_score
