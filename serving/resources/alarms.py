"""Alarms."""

from falcon import Request, Response

from schemas.api.alarms import Alarm, AlarmCondition
from serving.alarms.service import Alarms
from serving.auth.keys import caller_of
from serving.http.operations import Operation, ResponseSpec
from serving.http.parameters.ids import identifier
from serving.http.parameters.lists import ALARMS, alarm_filter, numbered_page
from serving.http.responses import answer, answer_list, link_next_page


class AlarmsResource:
    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms

    @Operation(
        id="listAlarms",
        summary="Alarms, open and past, newest first",
        tag="alarms",
        parameters=ALARMS,
        answers={
            200: ResponseSpec("All that meet the parameters, or a page.", list[Alarm], headers=("Link",))
        },
    )
    def on_get(self, request: Request, response: Response) -> None:
        criteria, part = alarm_filter(request.params), numbered_page(request.params)
        answer_list(response, link_next_page(request, response, part, self._alarms.all(criteria, part)))


class OneAlarmResource:
    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms

    @Operation(
        id="getAlarm",
        summary="One alarm",
        tag="alarms",
        answers={200: ResponseSpec("The alarm.", Alarm)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, alarm_id: str) -> None:
        answer(response, self._alarms.one(identifier("alarmId", alarm_id)))


class AcknowledgementResource:
    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms

    @Operation(
        id="acknowledgeAlarm",
        summary="Acknowledge an alarm, in the name of the key",
        tag="alarms",
        answers={200: ResponseSpec("The alarm; the first acknowledgement stays.", Alarm)},
        problems=(404,),
    )
    def on_post(self, request: Request, response: Response, alarm_id: str) -> None:
        answer(response, self._alarms.acknowledge(identifier("alarmId", alarm_id), caller_of(request).name))


class AlarmConditionsResource:
    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms

    @Operation(
        id="listAlarmConditions",
        summary="The kinds of alarms: thresholds, and what was last measured",
        tag="alarms",
        answers={200: ResponseSpec("Each kind that is evaluated.", list[AlarmCondition])},
    )
    def on_get(self, _request: Request, response: Response) -> None:
        answer(response, self._alarms.conditions())
